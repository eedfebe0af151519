"""The sample dataset: a small world with its videos, covers, titles and interactions."""
