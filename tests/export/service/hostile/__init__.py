"""Random and hostile requests against a running service; ``python -m tests.export.service.hostile``."""
