"""What one request may ask for, and what the service holds at a time."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_microlens.media.limits import TaskLimits

MAX_K = 1000
MAX_ASKED = 100
"""Users, histories or items of one request."""

MAX_ENTRIES = 10_000
"""In all lists of one answer."""

MAX_HISTORY = 1000
"""Items of one history."""

MAX_ALLOWED = 10_000
"""Ids in ``items_to_recommend``."""

MAX_LISTED = 1000
"""Users of one ``GET /users``."""

MAX_ID, MAX_TITLE = 200, 1000
"""Characters."""


@dataclass(frozen=True)
class Limits:
    """What the service holds at a time; whoever comes when it is full gets 429.

    Attributes
    ----------
    body_bytes, upload_bytes : int
        Of one request; ``upload_bytes`` for ``POST /items``.
    connections : int
        Open ones, idle ones too.
    requests : int
        Being answered, but for uploads, audiences, ``/health`` and ``/metrics``.
    uploads : int
        From their first byte on: received, waiting to be decoded, or decoded.
    decodes : int
        Of these, decoded at a time: processes that are kept ready.
    audiences : int
        ``POST /audience`` at a time: each looks at every user.
    new_items : int
        In the journal.
    decode : TaskLimits
        Of the process that decodes one file.
    decode_seconds : float
        Of clock time, after which it is killed.
    header_seconds, idle_seconds, upload_seconds : float
        For the head of a request; between two pieces of it; for the whole of it.
    answer_seconds : float
        For an answer to anything but an upload.
    shutdown_seconds : int
        For requests that are being answered when the service is told to end.
    """

    body_bytes: int = 1 << 20
    upload_bytes: int = 200 << 20
    connections: int = 256
    requests: int = 64
    uploads: int = 8
    decodes: int = 1
    audiences: int = 2
    new_items: int = 100_000
    decode: TaskLimits = TaskLimits(cpu_seconds=20, memory_bytes=1 << 30)
    decode_seconds: float = 30.0
    header_seconds: float = 10.0
    idle_seconds: float = 10.0
    upload_seconds: float = 300.0
    answer_seconds: float = 60.0
    shutdown_seconds: int = 30
