"""The training loop, its states on disk, and the folder that a run leaves behind."""
