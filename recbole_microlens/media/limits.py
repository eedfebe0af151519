"""What one file may ask of the process that decodes it: pixels, streams, length, memory, processor time."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from recbole_microlens.media.timeline import MediaError

try:
    import resource
except ImportError:  # Windows: a file may take memory and time there until the task itself is given up
    resource = None  # type: ignore[assignment]

MAX_PIXELS = 89_478_485
"""Of an image, or of a frame of a video: Pillow's own limit; 8K video has 33 million."""

MAX_STREAMS = 64
MAX_FRAMES = 10_000_000
MAX_SECONDS = 86_400


@dataclass(frozen=True)
class TaskLimits:
    """What a task may take: seconds of processor time, and bytes in addition to what the process holds before
    it.
    """

    cpu_seconds: int = 120
    memory_bytes: int = 4 << 30

    def limit_memory(self) -> None:
        """Let requests for more memory fail in this process, from now on."""
        if resource is None or not os.path.exists("/proc/self/statm"):
            return
        with open("/proc/self/statm", encoding="ascii") as file:
            held = int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
        # Not the address space: a store that is mapped for reading is larger than the memory, and takes none.
        _lower(resource.RLIMIT_DATA, held + self.memory_bytes)
        _lower(resource.RLIMIT_CORE, 0)

    def limit_time(self) -> None:
        """Let the system end this process (SIGXCPU) when it has computed for so long from now on."""
        if resource is not None:
            used = resource.getrusage(resource.RUSAGE_SELF)
            _lower(resource.RLIMIT_CPU, math.ceil(used.ru_utime + used.ru_stime) + self.cpu_seconds)


def _lower(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def require_size(width: int, height: int) -> None:
    """Raise a ``MediaError`` for more than :data:`MAX_PIXELS`."""
    if width * height > MAX_PIXELS:
        raise MediaError(f"{width:,} x {height:,} pixels, more than the {MAX_PIXELS:,} that are decoded")


def require_length(seconds: float, frames: int) -> None:
    """Raise a ``MediaError`` for a video that says it is longer than a day, or has too many frames."""
    if seconds > MAX_SECONDS:
        raise MediaError(f"says that it lasts {seconds:,.0f} s, more than the {MAX_SECONDS:,} that are read")
    if frames > MAX_FRAMES:
        raise MediaError(f"has {frames:,} frames, more than the {MAX_FRAMES:,} that are read")
