"""LMDB files opened for reading: once per process and file, again after a fork."""

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from recbole_microlens.errors import MicroLensError

MAX_KEY_BYTES = 511
"""LMDB's limit on a key, fixed when the library is compiled."""

_open: "weakref.WeakValueDictionary[tuple[int, int], lmdb.Environment]" = weakref.WeakValueDictionary()
_owner_pid = os.getpid()
_lock = threading.Lock()


def open_for_reading(path: Path, advice: str) -> lmdb.Environment:
    """The environment of an LMDB file, one per process: LMDB forbids opening a file twice.

    Nothing is locked: a finished store never changes, a rebuilt one is another file under the same name.
    Raises ``MicroLensError``, ending with ``advice``, where the file is missing, cut short or not an LMDB.
    """
    with _lock:
        _close_inherited()
        try:
            status = path.stat()
        except OSError as error:
            raise MicroLensError(f"{path}: no such store. {advice}") from error
        environment = _open.get((status.st_dev, status.st_ino))
        if environment is None:
            environment = _open_checked(path, status.st_size, advice)
            _open[status.st_dev, status.st_ino] = environment
        return environment


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside the block, an LMDB file that turns out to be damaged is a ``MicroLensError`` that names it."""
    try:
        yield
    except lmdb.Error as error:
        raise MicroLensError(
            f"{path}: is damaged ({error}). Build the store again with --overwrite."
        ) from error


def _open_checked(path: Path, size: int, advice: str) -> lmdb.Environment:
    try:
        environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise MicroLensError(f"{path}: not an LMDB file ({error}). {advice}") from error
    promised = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < promised:  # touching a page past the end of the file would kill the process (SIGBUS)
        environment.close()
        raise MicroLensError(f"{path}: truncated, {size:,} bytes of {promised:,}. {advice}")
    return environment


def _close_inherited() -> None:
    """A forked child holds its parent's environments, and LMDB refuses to open their files a second time."""
    global _owner_pid
    if _owner_pid != os.getpid():
        for environment in list(_open.values()):
            environment.close()
        _open.clear()
        _owner_pid = os.getpid()


def _renew_lock_after_fork() -> None:
    """Another thread of the parent may have held the lock; the child has no such thread to release it."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_after_fork)
