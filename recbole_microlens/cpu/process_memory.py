"""The memory of this process: kept when it is freed, given back when it has grown, and said in the log.

``benchmarks/memory.py`` has the ratio of time and of memory.

glibc takes every large tensor anew from the system and gives it back at each ``free``; the system clears it
page by page, which in a virtual machine can take longer than the computation. Kept instead, it is one heap,
and where batches differ in size that grows without end: a freed block is split for a smaller one, and
glibc before 2.38 cannot give a block of aligned memory to a request of its own size, which needs the room to
align it. What no block uses is therefore given back (``malloc_trim``) whenever the process has grown too far.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, TypeVar

import psutil
import torch

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
# Where glibc ends by itself once large blocks were freed; and its number of mapped blocks.
_MAPPED_FROM, _MOST_MAPPED = 32 << 20, 65536
# How far the process may grow beyond what a step needed on a heap just trimmed. By itself glibc comes to 1.3
# to 1.6 times that; with a bound below twice, memory is given back so often that nothing is gained.
_GROWTH, _SPARE = 2.0, 64 << 20

Result = TypeVar("Result")


def allow() -> None:
    """Let :func:`keep_freed` change this process: for a program such as the command line, not for a library
    call in somebody's notebook. ``benchmarks/memory.py`` has the figures: 1.4 times the speed.
    """
    keep_freed.is_allowed = True


def keep_freed(device: torch.device) -> None:
    """On a CPU under Linux, let this whole process use its memory again instead of giving it back.

    Nothing is changed without :func:`allow`, or where the environment has a variable ``MALLOC_...``. See
    :func:`give_back_after` for the end of it, and :func:`watch` for what bounds it.
    """
    if not keep_freed.is_allowed:
        return
    if device.type == "cpu" and not any(key.startswith("MALLOC_") for key in os.environ) and _libc():
        _libc().mallopt(_M_MMAP_MAX, 0)
        _libc().mallopt(_M_TRIM_THRESHOLD, -1)
        keep_freed.is_on = True


keep_freed.is_allowed = keep_freed.is_on = False


def give_back_after(work: Callable[..., Result]) -> Callable[..., Result]:
    """Decorate a library call that keeps freed memory: afterwards the process frees as others do."""

    @wraps(work)
    def scoped(*args, **kwargs) -> Result:
        try:
            return work(*args, **kwargs)
        finally:
            _stop_keeping()

    return scoped


def watch(optimizer: torch.optim.Optimizer | None) -> None:
    """After each step of an optimiser, give memory back if kept memory has grown too far."""
    if keep_freed.is_on and optimizer is not None:
        optimizer.register_step_post_hook(_Watch())


def give_back_freed() -> None:
    """Give what no block uses back to the system, where glibc can."""
    if _libc():
        _libc().malloc_trim(0)


def in_words() -> str:
    """What the process holds now, and held at most, for the log."""
    resident, peak = _resident_and_peak()
    return f"{resident / 1e9:.2f} GB in memory, {peak / 1e9:.2f} GB at the peak"


class _Watch:
    """Trims when the process has grown beyond what it needs.

    What a step needs is seen once after each trim: then the heap holds nothing but what that step took. The
    most that was seen counts, so that trims become rare once a large batch has come by.
    """

    def __init__(self):
        self._needed, self._is_compact = 0, True

    def __call__(self, *_) -> None:
        resident = psutil.Process().memory_info().rss
        if self._is_compact:
            self._needed, self._is_compact = max(self._needed, resident), False
        elif resident > _GROWTH * self._needed + _SPARE:
            give_back_freed()
            self._is_compact = True


def _stop_keeping() -> None:
    if keep_freed.is_on:
        _libc().mallopt(_M_MMAP_MAX, _MOST_MAPPED)
        _libc().mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        _libc().mallopt(_M_TRIM_THRESHOLD, 2 * _MAPPED_FROM)
        _libc().malloc_trim(0)
        keep_freed.is_on = False


@cache
def _libc() -> Any:  # ctypes.CDLL | None
    """glibc, or ``None`` under other systems and with other C libraries."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _resident_and_peak() -> tuple[int, int]:
    status = Path("/proc/self/status")
    if status.is_file():
        found = dict(re.findall(r"(VmRSS|VmHWM):\s*(\d+) kB", status.read_text()))
        return 1024 * int(found["VmRSS"]), 1024 * int(found["VmHWM"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return psutil.Process().memory_info().rss, peak if sys.platform == "darwin" else 1024 * peak
