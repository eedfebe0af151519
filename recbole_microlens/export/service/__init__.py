"""The service: a run's model asked over HTTP, and new items that survive a restart."""
