"""Sequences of a user, and batches that carry the media of their unique items."""
