"""The one error that bad input raises, how it names the nearest known word, and what a screen may show."""

import difflib
import errno
import re
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging import Formatter, LogRecord, getLogger

# Not of what was being done: a disk that is full or cannot be written to, too many open files.
_OF_THE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
_OF_THE_SYSTEM |= {errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG}

_OURS = __name__.partition(".")[0]


class MicroLensError(Exception):
    """Bad input from the user: a file, a row, a key or a value.

    The message says what is wrong, where (file, row or key), and what to do about it. The command line prints
    it without a traceback and exits with code 2.
    """

    def __init__(self, message: str):
        # A DataLoader raises the error of a worker again, with the worker's traceback as its text.
        super().__init__(printable(message.rpartition("MicroLensError: ")[2].strip(), lines=True))


# Controls (C0, DEL, C1), marks that turn the direction of text, ends of paragraphs, halves of pairs.
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: object, lines: bool = False) -> str:
    """``text`` as a terminal or a log may show it.

    A control character of data, such as the escape that begins a command to the terminal, is spelled out
    (``\\x1b``), and so is what cannot be encoded.

    Parameters
    ----------
    text : object
        A title, an id, a file's name, a message; of another type, its ``str``.
    lines : bool, default False
        Keep line ends and tabs, which are the message's own.
    """
    return _UNPRINTABLE.sub(lambda found: _spelled(found[0], lines), str(text))


def _spelled(character: str, lines: bool) -> str:
    if lines and character in "\n\t":
        return character
    return character.encode("unicode_escape").decode()


class PrintableFormatter(Formatter):
    """Messages of a log as :func:`printable` gives them; the record itself is left alone."""

    def format(self, record: LogRecord) -> str:
        return self.printed(super().format(record))

    def printed(self, text: str) -> str:
        return printable(text, lines=True)


@contextmanager
def explained(what: str, advice: str, by: str | None = None) -> Iterator[None]:
    """Turn an error of another library inside the block into a :class:`MicroLensError`, but for a lack of
    memory, and what the system says against a file.

    Parameters
    ----------
    what : str
        What was being done, the start of the message.
    advice : str
        What to do about it, the end of the message.
    by : str, optional
        The package whose code, or what it calls, raises such an error. One that comes out of our own code
        is a fault of ours and passes as it is. Without a name, every error is one of another library: for
        blocks that call nothing else.
    """
    try:
        yield
    except MicroLensError:
        raise
    except Exception as error:
        if is_out_of_memory(error) or (isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM):
            raise
        if by is not None and not _is_raised_by(by, error):
            raise
        getLogger().debug(what, exc_info=True)
        raise MicroLensError(
            f"{what}: {type(error).__name__}: {first_line(error)}. {advice} --state=DEBUG shows the "
            "traceback."
        ) from error


def _is_raised_by(package: str, error: Exception) -> bool:
    """Whether the innermost frame that is a package's or ours is the package's."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [name.partition(".")[0] for name in modules]
    return next((name == package for name in reversed(packages) if name in (package, _OURS)), False)


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
