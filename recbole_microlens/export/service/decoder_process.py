"""The process that decodes uploads, started with ``python -m``: it knows no token, no model and no network.

It answers each task, JSON of a kind, a file and how a store would hold it, with the value of the store after
a byte 0, or with the reason against it after a byte 1. Nothing it says is unpickled.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from recbole_microlens.media.limits import TaskLimits
from recbole_microlens.media.part import encode_item
from recbole_microlens.media.store import StoreMeta
from recbole_microlens.media.workers import Failure

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

DONE, FAILED = b"\0", b"\1"


def main(argv: list[str]) -> int:
    """Serve tasks from the connection whose descriptor is given, until its other end is closed."""
    connection = Connection(int(argv[0]))
    limits = TaskLimits(cpu_seconds=int(argv[1]), memory_bytes=int(argv[2]))
    connection.send_bytes(DONE)
    limits.limit_memory()
    _forbid_files()
    with suppress(EOFError, ConnectionError):
        while True:
            task = json.loads(connection.recv_bytes())
            limits.limit_time()
            connection.send_bytes(_answer(task, limits))
    return 0


def _answer(task: dict, limits: TaskLimits) -> bytes:
    try:
        meta = StoreMeta(source="", **task["meta"])
        found = encode_item(task["kind"], meta, (task["path"], [task["path"]]))
    except MemoryError:
        found = Failure(f"needs more than {limits.memory_bytes / (1 << 30):.3g} GiB of memory")
    except Exception as error:  # the process must answer, whatever went wrong with one file
        found = Failure(f"cannot be decoded ({type(error).__name__})")
    return FAILED + found.reason.encode() if isinstance(found, Failure) else DONE + found


def _forbid_files() -> None:
    """A decoder that is taken over writes no file."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
