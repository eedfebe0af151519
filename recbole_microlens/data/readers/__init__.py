"""What an item looks like: frames and covers from a media store, tokens of titles, features from a file."""
