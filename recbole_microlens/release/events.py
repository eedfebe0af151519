"""Which kinds of events of a log count as interactions."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.release.columns import PairsColumns

_SHOWN = 8


class EventFilter:
    """Takes the rows of some kinds of events, or of all.

    Parameters
    ----------
    path : Path
        The log, for messages.
    columns : PairsColumns
        Its columns.
    wanted : tuple[str, ...], default ()
        The kinds to take; empty for all.

    Raises
    ------
    MicroLensError
        Kinds are wanted, and no column says what kind a row is.
    """

    def __init__(self, path: Path, columns: PairsColumns, wanted: tuple[str, ...] = ()):
        if wanted and columns.event is None:
            raise MicroLensError(
                f"--events {','.join(wanted)}: no column of {path} is known to be the kind of event. Name it "
                "with --columns event=NAME."
            )
        self.path = path
        self.place = columns.event
        self.wanted = frozenset(wanted)
        self.in_order = wanted

    def takes(self, cells: list[str], seen: Counter[str]) -> bool:
        """Whether the row with these cells is taken; its kind is counted in ``seen``."""
        if self.place is None:
            return True
        kind = cells[self.place].strip()
        seen[kind] += 1
        return not self.wanted or kind in self.wanted

    def mask(self, codes: np.ndarray, kinds: list[str], seen: Counter[str]) -> np.ndarray | None:
        """Which rows are taken, bool [rows]; None for all. The kinds of all rows are counted in ``seen``.

        Parameters
        ----------
        codes : np.ndarray [rows], int
            Places in ``kinds``.
        kinds : list[str]
            The distinct cells of the column.
        """
        kinds = [kind.strip() for kind in kinds]
        for kind, count in zip(kinds, np.bincount(codes, minlength=len(kinds)).tolist(), strict=True):
            seen[kind] += count
        if not self.wanted:
            return None
        return np.array([kind in self.wanted for kind in kinds], dtype=bool)[codes]

    def require_found(self, seen: Mapping[str, int]) -> None:
        """Raise a :class:`MicroLensError` if no row is of a wanted kind."""
        for kind in self.in_order:
            if kind not in seen:
                raise MicroLensError(
                    f"--events {kind}: no row of {self.path} is of this kind.{did_you_mean(kind, seen)} It "
                    f"has {counted(seen)}."
                )


def counted(events: Mapping[str, int]) -> str:
    """Kinds of events and their rows as text, the most frequent first."""
    ordered = Counter(events).most_common(_SHOWN)
    more = f" and {len(events) - _SHOWN} more kinds" if len(events) > _SHOWN else ""
    return ", ".join(f"{kind or '(empty)'} {count:,}" for kind, count in ordered) + more
