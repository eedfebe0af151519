"""Decode videos and covers, and keep their frames in an LMDB store."""
