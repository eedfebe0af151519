"""What an item looks like: frames, covers and sound from a media store, tokens of titles, features from a file."""
