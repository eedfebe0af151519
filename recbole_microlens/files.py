"""Files that are whole or not there, and the system's errors about files in words."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: two processes that write one thing at a time are then not noticed
    fcntl = None  # type: ignore[assignment]

_AGAIN = "run the command again: it continues where it stopped"
# What is wrong, and what to do.
_WORDS = {
    errno.ENOSPC: ("no space is left on the disk", "Free disk space, then {again}."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, then {again}."),
    errno.EFBIG: (
        "the file would be larger than this file system, or `ulimit -f`, allows",
        "Choose another folder, or raise the limit.",
    ),
    errno.EROFS: ("the file system is read-only", "Choose a folder that can be written to."),
    errno.EACCES: ("permission is denied", "Check who owns it, or choose another folder."),
    errno.EPERM: ("this is not permitted", "Check who owns it, or choose another folder."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter one."),
    errno.EMFILE: ("too many files are open", "Lower `worker`, or raise the limit with `ulimit -n`."),
    errno.ENFILE: ("the system has too many open files", "Close other programs, or lower `worker`."),
    errno.EIO: ("the disk reports an input/output error", "Check the disk (`dmesg`), then {again}."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another path."),
    errno.EISDIR: ("it is a folder, not a file", "Move it away, or choose another path."),
    errno.ENOENT: ("there is no such file or folder", "Check the path."),
    errno.EEXIST: ("it exists already", "Move it away, or choose another path."),
    errno.ENOTEMPTY: ("the folder is not empty", "Move it away, or choose another path."),
    errno.EXDEV: ("it is on another file system", "Choose a folder on the same one."),
    errno.ESTALE: ("the network file system has lost it", "Check its server, then {again}."),
    errno.ETIMEDOUT: ("the file system does not answer", "Check its server, then {again}."),
}


@contextmanager
def written_whole(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file for writing that appears under its name when the block has ended well, and is on the disk
    by then; an old one stays until it does.

    Parameters
    ----------
    mode : str, default 'w'
        ``w`` for UTF-8 text with ``\\n`` as line ends, or ``wb``.

    Raises
    ------
    OSError
        With the name of the file.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with writing(partial, mode) as file:
            yield file
            with naming(partial):
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def writing(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a file for writing; an error inside the block, or on closing, names the file."""
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
    with naming(path), path.open(mode, encoding=encoding, newline=newline) as file:
        yield file


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an ``OSError`` of the block that names no file, as that of a write, the name of this one."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise


@contextmanager
def locked_folder(folder: Path, wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Make a folder and hold it for this process; a process that is killed lets go of it by itself.

    Not by ``filelock``, which holds a file made for it and leaves that behind: inside it would be published
    with the rest, beside it would need a folder above that can be written to. Here the folder itself is held.

    Parameters
    ----------
    wait : Callable[[], None], optional
        Called where another process holds it, before this one waits; ``None``: do not wait.

    Yields
    ------
    bool
        False where another process holds it, or gave it another name while this one waited.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield holds_lock(descriptor, wait) and is_still(descriptor, folder)
    finally:
        os.close(descriptor)


def holds_lock(descriptor: int, wait: Callable[[], None] | None, alone: bool = True) -> bool:
    """Lock an open file or folder, alone or together with others that do not want it alone.

    Parameters
    ----------
    wait : Callable[[], None], optional
        Called where another process holds it, before this one waits; ``None``: do not wait, and return False.
    """
    if fcntl is None:
        return True
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        if wait is None:
            return False
        wait()
        fcntl.flock(descriptor, how)
    return True


def is_still(descriptor: int, path: Path) -> bool:
    """Whether what is open is what a path names: it may have been removed or renamed meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


def in_words(error: OSError, again: str = _AGAIN) -> str:
    """What an ``OSError`` says, as one sentence on what is wrong with which file, and one on what to do.

    Parameters
    ----------
    again : str, default _AGAIN
        How the user continues once the disk is in order.
    """
    wrong, advice = _WORDS.get(
        error.errno or 0, (error.strerror or str(error), "Check the path and the disk.")
    )
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return f"{' -> '.join(names) or 'A file'}: {wrong}. {advice.format(again=again)}"


def is_disk_full(folder: Path) -> bool:
    """Whether a disk has next to nothing left, for libraries that do not pass on the system's reason."""
    with suppress(OSError):
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize < 1 << 20
    return False
