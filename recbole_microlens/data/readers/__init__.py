"""What an item looks like: frames, covers and sound from media stores, titles, features from a file."""
