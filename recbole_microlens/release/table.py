"""A table of interactions, whatever its form, as parts that are read one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.release.blocks import BLOCK, Block, read_blocks
from recbole_microlens.release.columns import PairsColumns, pairs_columns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.packed import is_packed, open_bytes, unpacking
from recbole_microlens.release.parsing import Parsed, Rows, parse_block, rows_of_other_units
from recbole_microlens.release.rows import BadRows, first_line
from recbole_microlens.release.times import UNITS

_SAMPLED_BYTES, _SAMPLED_PLACES = 1 << 18, 64
_UNPACKED = 5  # times as many bytes, about, as a packed table of numbers has


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


@dataclass(frozen=True)
class Part(Parsed):
    """Some rows of a table, and the place behind them."""

    place: Place = Place()


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

    def parts(self, place: Place = Place()) -> Iterator[Part]:
        """What stands from a place on, in file order; with a progress bar."""

    def sample(self) -> Sample:
        """Look at some of the rows, from all over the table where it can be entered anywhere."""

    def report_other_units(self, unit: int, count: int, bad: BadRows) -> None:
        """Give the rows whose time is in another unit than that of ``count`` others to ``bad``."""

    def nothing_left(self, bad: BadRows) -> MicroLensError:
        """The error of a table of which nothing is left."""


def open_table(
    path: Path,
    named: Mapping[str, str] | None = None,
    events: tuple[str, ...] = (),
    block: int | None = None,
) -> Table:
    """Look at the first line of a table of interactions.

    Parameters
    ----------
    path : Path
        A text table; one that ends in ``.gz`` or ``.zst`` is unpacked.
    named : Mapping[str, str], optional
        Columns by what they are; see :func:`~recbole_microlens.release.columns.pairs_columns`.
    events : tuple[str, ...], default ()
        The kinds of events to take; all by default.
    block : int, optional
        Bytes that are read at once; by default :data:`BLOCK`.

    Raises
    ------
    MicroLensError
        Its columns are not known.
    """
    columns = pairs_columns(path, first_line(path), named)
    return TextTable(path, columns, EventFilter(path, columns, events), block or BLOCK)


@dataclass
class TextTable:
    """A table of text; see :class:`Table`."""

    path: Path
    columns: PairsColumns
    kept: EventFilter
    block: int = BLOCK

    def parts(self, place: Place = Place()) -> Iterator[Part]:
        size = None if is_packed(self.path) else self.path.stat().st_size
        with tqdm(
            total=size,
            initial=place.end,
            desc=f"reading {printable(self.path.name)}",
            unit="B",
            unit_scale=True,
            delay=2,
            disable=None,
        ) as progress:
            for block, is_first, behind in self._blocks(place):
                parsed = parse_block(block, self.columns, self.kept, is_first)
                yield Part(parsed.rows, parsed.bad, parsed.events, behind)
                progress.update(behind.end - place.end)
                place = behind

    def _blocks(self, place: Place) -> Iterator[tuple[Block, bool, Place]]:
        seen = place.seen_rows
        for block in read_blocks(self.path, self.block, place.end, place.line):
            is_first, seen = not seen, seen or bool(block.data.strip())
            yield block, is_first, Place(block.end, block.next_line, seen)

    def sample(self) -> Sample:
        parts, read, whole = [], 0, self.path.stat().st_size
        with unpacking(self.path), open_bytes(self.path) as stream:
            if is_packed(self.path):
                whole *= _UNPACKED
            places = 1 if is_packed(self.path) else _SAMPLED_PLACES
            for place in range(places):
                if place:
                    stream.seek(whole * place // places)
                    stream.readline(_SAMPLED_BYTES)  # the rest of a line
                data = stream.read(_SAMPLED_BYTES)
                data = data[: data.rfind(b"\n") + 1] or data
                parts.append(
                    parse_block(Block(data, 1, len(data), 1), self.columns, self.kept, place == 0).rows
                )
                read += len(data)
        rows = sum(map(len, parts))
        return Sample(parts, -(-rows * whole // max(read, 1)))

    def report_other_units(self, unit: int, count: int, bad: BadRows) -> None:
        for block, is_first, _ in self._blocks(Place()):
            header = is_first and self.columns.header
            for line, other, text in rows_of_other_units(block, self.columns, self.kept, header, unit):
                reason = f"its time is in {UNITS[other].name}, {count:,} other rows have {UNITS[unit].name}"
                bad.add(self.path, line, reason, text)

    def nothing_left(self, bad: BadRows) -> MicroLensError:
        return MicroLensError(f"{self.path} has no row that can be read ({len(bad)} bad rows were left out).")
