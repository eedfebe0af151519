"""The one error that bad input raises, and how its text names the nearest known word."""

import difflib
import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger

# Not of what was being done: a disk that is full or cannot be written to, too many open files.
_OF_THE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_OF_THE_SYSTEM |= {errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG}


class MicroLensError(Exception):
    """Bad input from the user: a file, a row, a key or a value.

    The message says what is wrong, where (file, row or key), and what to do about it. The command line prints
    it without a traceback and exits with code 2.
    """

    def __init__(self, message: str):
        # A DataLoader raises the error of a worker again, with the worker's traceback as its text.
        super().__init__(message.rpartition("MicroLensError: ")[2].strip())


@contextmanager
def explained(what: str, advice: str) -> Iterator[None]:
    """Turn any error of another library inside the block into a :class:`MicroLensError`, but for a lack of
    memory, and what the system says against a file.

    Parameters
    ----------
    what : what was being done, the start of the message.
    advice : what to do about it, the end of the message.
    """
    try:
        yield
    except MicroLensError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM):
            raise
        getLogger().debug(what, exc_info=True)
        raise MicroLensError(
            f"{what}: {type(error).__name__}: {first_line(error)}. {advice} --state=DEBUG shows the "
            "traceback."
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python or torch, on a CPU or a GPU, was refused memory."""
    said = str(error)
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or its type where it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known word nearest to ``word``, or ``""`` if none is."""
    by_folded = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean '{by_folded[near[0]]}'?" if near else ""
