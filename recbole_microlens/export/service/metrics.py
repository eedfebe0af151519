"""What the service counts, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_OTHER = "other"  # whatever a stranger asks for is one line
_PREFIX = "recbole_microlens_"


class Metrics:
    """Counters of one service.

    Attributes
    ----------
    decodes : Gauge
        Uploads that are being decoded.
    """

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._requests = Counter(f"{_PREFIX}requests", "Requests answered", ["path", "status"], registry=own)
        self._seconds = Histogram(
            f"{_PREFIX}request_seconds", "Until the answer", ["path"], buckets=_BUCKETS, registry=own
        )
        self._items = Gauge(f"{_PREFIX}items", "Items that are ranked", registry=own)
        self._added = Counter(f"{_PREFIX}items_added", "New items ranked since the start", registry=own)
        self._refused = Counter(f"{_PREFIX}uploads_refused", "By status", ["status"], registry=own)
        self._stages = Histogram(
            f"{_PREFIX}upload_seconds", "Of an upload's stages", ["stage"], buckets=_BUCKETS, registry=own
        )
        self.decodes = Gauge(f"{_PREFIX}decodes_running", "Uploads that are being decoded", registry=own)

    def answered(self, path: str | None, status: int, seconds: float) -> None:
        """Count an answer to a request of a path template; ``None`` where it matches none."""
        self._requests.labels(path or _OTHER, str(status)).inc()
        self._seconds.labels(path or _OTHER).observe(seconds)
        if path == "/items" and status >= 400:
            self._refused.labels(str(status)).inc()

    def stage(self, name: str) -> AbstractContextManager:
        """Measure a block as a stage of an upload: receive, decode, encode, keep or rank."""
        return self._stages.labels(name).time()

    def item_added(self) -> None:
        """Count a new item."""
        self._added.inc()

    def count_items(self, count: Callable[[], int]) -> None:
        """Let the number of items be asked for when the metrics are."""
        self._items.set_function(count)

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self._registry)
