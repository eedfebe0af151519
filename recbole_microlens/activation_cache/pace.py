"""How long building an activation cache will take: from the ranges that are built, not from a trial."""

from __future__ import annotations

from logging import getLogger
from time import perf_counter

# Ranges are looked at for so long, or until so much of the work is done, before anything is said.
_SECONDS, _SHARE = 20, 0.1


class Pace:
    """Logs once how long the rest of a build will take.

    A trial on a few items tells too little: what a pass costs besides its items, the time to read and to
    write them, and workers that read ahead all count. The first range is left out, it also warms up.

    Parameters
    ----------
    ranges : int
        Ranges of items that this process builds, all of about one size.
    """

    def __init__(self, ranges: int):
        self._ranges, self._done = ranges, 0
        self._start: float | None = None

    def one_more_range(self) -> None:
        """A range was read, passed through the trunk and written."""
        self._done += 1
        if self._done == 1:
            self._start = perf_counter()
        if self._start is None or self._done < 2:
            return
        measured, elapsed = self._done - 1, perf_counter() - self._start
        if elapsed < _SECONDS and self._done < _SHARE * self._ranges:
            return
        self._start = None
        rest = elapsed / measured * (self._ranges - self._done)
        if rest > _SECONDS:
            getLogger().info(
                f"activation cache: {self._done} of {self._ranges} parts are built, about "
                f"{rest / 60:.1f} minutes to go"
            )
