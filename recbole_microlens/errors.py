"""The one error that bad input raises, and how its text names the nearest known word."""

import difflib
from collections.abc import Iterable


class MicroLensError(Exception):
    """Bad input from the user: a file, a row, a key or a value.

    The message says what is wrong, where (file, row or key), and what to do about it. The command line prints
    it without a traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of another library's error, or its type where it has no text."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known word nearest to ``word``, or ``""`` if none is."""
    by_folded = {name.lower(): name for name in sorted(known)}
    near = difflib.get_close_matches(word.lower(), by_folded, n=1, cutoff=0.6)
    return f" Did you mean '{by_folded[near[0]]}'?" if near else ""
