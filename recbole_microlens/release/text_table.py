"""A table of interactions in a text file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.blocks import Block, read_blocks
from recbole_microlens.release.columns import PairsColumns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.packed import is_packed, open_bytes, unpacking
from recbole_microlens.release.parsing import parse_block, rows_of_other_units
from recbole_microlens.release.rows import BadRows
from recbole_microlens.release.table import START, Part, Place, Sample, reading_bar
from recbole_microlens.release.times import UNITS

_SAMPLED_BYTES, _SAMPLED_PLACES = 1 << 18, 64
_UNPACKED = 5  # times as many bytes, about, as a packed table of numbers has


@dataclass
class TextTable:
    """See :class:`~recbole_microlens.release.table.Table`."""

    path: Path
    columns: PairsColumns
    kept: EventFilter
    block: int

    def parts(self, place: Place = START) -> Iterator[Part]:
        size = None if is_packed(self.path) else self.path.stat().st_size
        with reading_bar(self.path, size, place, "B") as progress:
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
        for block, is_first, _ in self._blocks(START):
            header = is_first and self.columns.header
            for line, other, text in rows_of_other_units(block, self.columns, self.kept, header, unit):
                reason = f"its time is in {UNITS[other].name}, {count:,} other rows have {UNITS[unit].name}"
                bad.add(self.path, line, reason, text)

    def nothing_left(self, bad: BadRows) -> MicroLensError:
        return MicroLensError(f"{self.path} has no row that can be read ({len(bad)} bad rows were left out).")
