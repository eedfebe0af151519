"""Content encoders: one table, each network split into a trunk and a trainable top."""
