"""Who reads an activation cache, and when it was last used: told by its ``meta.json`` alone.

A process that reads a cache holds that file with a shared lock, which ends with the process however it ends.
The time of the file is that of the last use.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recbole_microlens.files import holds_lock, is_still

try:
    import fcntl
except ImportError:  # Windows: a cache that is read is then not known
    fcntl = None  # type: ignore[assignment]


class Reading:
    """Holds a cache's ``meta.json`` for as long as this object, or a process forked from this one, is there.

    Raises
    ------
    OSError
        The file is not there, or another process has just removed it.
    """

    def __init__(self, meta: Path):
        descriptor = os.open(meta, os.O_RDONLY)
        weakref.finalize(self, os.close, descriptor)
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # Whoever holds it alone does so for a moment.
            except OSError:
                return  # A file system without locks; nobody then removes what cannot be locked.
            if not os.path.samestat(os.fstat(descriptor), os.stat(meta)):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(meta))


def mark_used(meta: Path) -> None:
    """Make now the time of the last use; a cache that others own, or on a read-only disk, stays as it is."""
    with suppress(OSError):
        os.utime(meta)


@contextmanager
def only_mine(meta: Path) -> Iterator[bool]:
    """Keep others from beginning to read a cache.

    Yields
    ------
    bool
        False where a process reads it, or where that cannot be found out.
    """
    if fcntl is None:
        yield True
        return
    descriptor = os.open(meta, os.O_RDWR)
    try:
        yield _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def held(file: Path, *, alone: bool, wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold a file that processes build a cache by, alone or together with others that do not hold it alone.

    Parameters
    ----------
    wait : Callable[[], None], optional
        Called where another process holds it, before this one waits; ``None``: do not wait.

    Yields
    ------
    bool
        False where another process holds it, or has removed it, or renamed its folder: look again.
    """
    try:
        descriptor = os.open(file, os.O_RDWR if alone else os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        yield holds_lock(descriptor, wait, alone) and is_still(descriptor, file)
    finally:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked from this one has it open, too
        os.close(descriptor)
