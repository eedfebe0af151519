"""A table of interactions, whatever its form, as parts that are read one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.release.columns import PairsColumns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.parsing import Parsed, Rows
from recbole_microlens.release.rows import BadRows


@dataclass(frozen=True)
class Place:
    """How far a table has been read.

    Attributes
    ----------
    end : int
        Bytes of the unpacked file, or batches of rows.
    line : int
        The number of the next line, or row.
    seen_rows : bool
        Whether a line that is not blank stands before.
    """

    end: int = 0
    line: int = 1
    seen_rows: bool = False


START = Place()


@dataclass(frozen=True)
class Part(Parsed):
    """Some rows of a table, and the place behind them."""

    place: Place = START


@dataclass(frozen=True)
class Sample:
    """Some of the rows of a table, and how many it has in all, about."""

    parts: list[Rows]
    total: int


class Table(Protocol):
    """A table of interactions.

    Attributes
    ----------
    path : Path
    columns : PairsColumns
    kept : EventFilter
    block : int
        Bytes that are read at once.
    """

    path: Path
    columns: PairsColumns
    kept: EventFilter
    block: int

    def parts(self, place: Place = START) -> Iterator[Part]:
        """What stands from a place on, in file order; with a progress bar."""

    def sample(self) -> Sample:
        """Look at some of the rows, from all over the table where it can be entered anywhere."""

    def report_other_units(self, unit: int, count: int, bad: BadRows) -> None:
        """Give the rows whose time is in another unit than that of ``count`` others to ``bad``."""

    def nothing_left(self, bad: BadRows) -> MicroLensError:
        """The error of a table of which nothing is left."""


def reading_bar(path: Path, total: int | None, place: Place, unit: str) -> tqdm:
    """A progress bar of a table that is read from a place on."""
    return tqdm(
        total=total,
        initial=place.end,
        desc=f"reading {printable(path.name)}",
        unit=unit,
        unit_scale=True,
        delay=2,
        disable=None,
    )
