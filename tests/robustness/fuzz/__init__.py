"""Bytes without end for the readers of bytes: each takes them, or says in its one error why not."""
