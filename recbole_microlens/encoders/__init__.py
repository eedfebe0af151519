"""Content encoders: one table row each, split into a trunk and a trainable top."""
