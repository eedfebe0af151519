"""A table of interactions in a Parquet file: rows of user, item and time, or of user and list of items."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from recbole_microlens.errors import MicroLensError, first_line
from recbole_microlens.release.columns import COMMON_NAMES, PairsColumns, header_cell, pairs_columns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.ids import IdColumn
from recbole_microlens.release.parsing import (
    Parsed,
    Rows,
    parse_cells,
    parse_sequence_cells,
    plain_ids,
    plain_numbers,
)
from recbole_microlens.release.rows import BadRows, RowError
from recbole_microlens.release.table import START, Part, Place, Sample, reading_bar
from recbole_microlens.release.times import ISO, UNITS, numbers_in_microseconds

BATCH = 1 << 20
"""Rows that are read at once."""

_SAMPLED_GROUPS = 8
_SAMPLED_ROWS = 1 << 15


@dataclass
class ParquetTable:
    """See :class:`~recbole_microlens.release.table.Table`; a place counts rows instead of bytes."""

    path: Path
    columns: PairsColumns
    kept: EventFilter
    block: int
    wanted: tuple[str, ...]

    @classmethod
    def open(cls, path: Path, named: Mapping[str, str] | None, events: tuple[str, ...], block: int):
        """Look at the columns of a file.

        Raises
        ------
        MicroLensError
            It is no Parquet file, or its columns are not known.
        """
        with _reading(path):
            schema = parquet.read_schema(path)
        columns = _columns(path, schema, dict(named or {}))
        places = [columns.user, columns.item, columns.time, columns.event]
        wanted = tuple(schema.names[place] for place in places if place is not None)
        return cls(path, columns, EventFilter(path, columns, events), block, wanted)

    def parts(self, place: Place = START) -> Iterator[Part]:
        with (
            _reading(self.path),
            parquet.ParquetFile(self.path, memory_map=True) as file,
            reading_bar(self.path, file.metadata.num_rows, place, " rows") as progress,
        ):
            for batch in self._batches(file, place.end):
                parsed = self._parsed(batch, place.end + 1)
                end = place.end + batch.num_rows
                place = Place(end, end + 1, True)
                yield Part(parsed.rows, parsed.bad, parsed.events, place)
                progress.update(batch.num_rows)

    def _batches(self, file: parquet.ParquetFile, skipped: int) -> Iterator[pa.RecordBatch]:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if skipped >= rows:
                skipped -= rows
                continue
            size = min(BATCH, max(self.block // 32, 1))
            for batch in file.iter_batches(size, row_groups=[group], columns=list(self.wanted)):
                cut = min(skipped, batch.num_rows)
                skipped -= cut
                if cut < batch.num_rows:
                    yield batch.slice(cut)

    def sample(self) -> Sample:
        parts, read = [], 0
        with _reading(self.path), parquet.ParquetFile(self.path, memory_map=True) as file:
            groups = np.unique(np.linspace(0, file.num_row_groups - 1, _SAMPLED_GROUPS).astype(int)).tolist()
            for group in groups if file.num_row_groups else []:
                batches = file.iter_batches(_SAMPLED_ROWS, row_groups=[group], columns=list(self.wanted))
                batch = next(batches, None)
                if batch is not None:
                    parts.append(self._parsed(batch, 1).rows)
                    read += batch.num_rows
            rows = sum(map(len, parts))
            return Sample(parts, -(-rows * file.metadata.num_rows // max(read, 1)))

    def report_other_units(self, unit: int, count: int, bad: BadRows) -> None:
        with _reading(self.path), parquet.ParquetFile(self.path, memory_map=True) as file:
            first = 1
            for batch in self._batches(file, 0):
                for number, cells in self._cells(batch, first):
                    parsed = parse_cells([(number, cells, "")], self.columns, self.kept)
                    if len(parsed.rows) and parsed.rows.unit is not None and parsed.rows.unit[0] != unit:
                        other = UNITS[parsed.rows.unit[0]].name
                        reason = f"its time is in {other}, {count:,} other rows have {UNITS[unit].name}"
                        bad.add(self.path, number, reason, ",".join(cells))
                first += batch.num_rows

    def nothing_left(self, bad: BadRows) -> MicroLensError:
        return MicroLensError(f"{self.path} has no row that can be read ({len(bad)} bad rows were left out).")

    def _parsed(self, batch: pa.RecordBatch, first: int) -> Parsed:
        if self.columns.time is None:
            return self._plain_sequences(batch) or parse_sequence_cells(self._lists(batch, first))
        plain = self._plain(batch)
        return plain or parse_cells(
            ((number, cells, ",".join(cells)) for number, cells in self._cells(batch, first)),
            self.columns,
            self.kept,
        )

    def _column(self, batch: pa.RecordBatch, place: int) -> pa.Array:
        return batch.column(self.wanted[self._order.index(place)])

    @property
    def _order(self) -> list[int]:
        columns = self.columns
        places = (columns.user, columns.item, columns.time, columns.event)
        return [place for place in places if place is not None]

    def _plain(self, batch: pa.RecordBatch) -> Parsed | None:
        assert self.columns.time is not None
        times = _plain_times(self._column(batch, self.columns.time))
        if times is None:
            return None
        events: Counter[str] = Counter()
        is_kept = None
        if self.columns.event is not None:
            kinds = self._column(batch, self.columns.event)
            if kinds.null_count:
                return None
            encoded = kinds.cast(pa.string()).dictionary_encode()
            is_kept = self.kept.mask(encoded.indices.to_numpy(), encoded.dictionary.to_pylist(), events)
        try:
            user = _ids(self._column(batch, self.columns.user), "user", is_kept)
            item = _ids(self._column(batch, self.columns.item), "item", is_kept)
        except RowError:
            return None
        time_us, unit = times if is_kept is None else (times[0][is_kept], times[1][is_kept])
        return Parsed(Rows(user, item, time_us, unit), events=events)

    def _plain_sequences(self, batch: pa.RecordBatch) -> Parsed | None:
        lists = self._column(batch, self.columns.item)
        counts = pc.list_value_length(lists)
        if counts.null_count or (len(counts) and pc.min(counts).as_py() == 0):
            return None
        try:
            user = _ids(self._column(batch, self.columns.user), "user", None)
            item = _ids(lists.flatten(), "item", None)
        except RowError:
            return None
        repeated = np.repeat(np.arange(len(lists)), counts.to_numpy())
        if user.numbers is not None:
            return Parsed(Rows(IdColumn(numbers=user.numbers[repeated]), item, None, None))
        assert user.codes is not None
        users = IdColumn(None, user.codes[repeated], user.names, user.respelled)
        return Parsed(Rows(users, item, None, None))

    def _cells(self, batch: pa.RecordBatch, first: int) -> Iterator[tuple[int, list[str]]]:
        """(number, cells) of each row; the cells stand at the places that the columns have in the file."""
        texts = [_texts(batch.column(name)) for name in self.wanted]
        for number, values in enumerate(zip(*texts, strict=True), first):
            cells = [""] * self.columns.count
            for place, value in zip(self._order, values, strict=True):
                cells[place] = value
            yield number, cells

    def _lists(self, batch: pa.RecordBatch, first: int) -> Iterator[tuple[int, str, list[str], str]]:
        users = _texts(self._column(batch, self.columns.user))
        lists = self._column(batch, self.columns.item).to_pylist()
        for number, (user, items) in enumerate(zip(users, lists, strict=True), first):
            names = ["" if name is None else str(name) for name in items or []]
            yield number, user, names, f"{user}\t{' '.join(names)}"


def _columns(path: Path, schema: pa.Schema, named: dict[str, str]) -> PairsColumns:
    lists = [name for name in schema.names if _is_list(schema.field(name).type)]
    item = next((n for n in schema.names if header_cell(n) == header_cell(named.get("item", ""))), None)
    if lists and (item is None or item in lists) and "time" not in named:
        return _sequence_columns(path, schema, named, item or lists[0] if len(lists) == 1 or item else "")
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(schema.names)
    columns = pairs_columns(path, line.getvalue(), named or {"user": _user_of(path, schema)})
    for role, place in (("user", columns.user), ("item", columns.item), ("event", columns.event)):
        if place is not None and not _is_id(schema.field(place).type):
            raise _wrong_type(path, role, schema.field(place))
    return columns


def _sequence_columns(path: Path, schema: pa.Schema, named: dict[str, str], item: str) -> PairsColumns:
    if not item:
        lists = ", ".join(name for name in schema.names if _is_list(schema.field(name).type))
        raise MicroLensError(
            f"{path} has several columns of lists: {lists}. Choose one: --columns item=NAME."
        )
    user = named.get("user") or _user_of(path, schema)
    if user not in schema.names:
        raise MicroLensError(f"--columns user={user}: {path} has the columns {', '.join(schema.names)}.")
    for role, name, kind in (
        ("user", user, schema.field(user).type),
        ("item", item, schema.field(item).type.value_type),
    ):
        if not _is_id(kind):
            raise _wrong_type(path, role, schema.field(name))
    places = schema.names.index(user), schema.names.index(item)
    guessed = tuple(role for role in ("user", "item") if role not in named)
    return PairsColumns(
        ",", True, len(schema.names), *places, None, None, {"user": user, "item": item}, guessed
    )


def _user_of(path: Path, schema: pa.Schema) -> str:
    found = [name for name in schema.names if header_cell(name) in COMMON_NAMES["user"]]
    if len(found) == 1:
        return found[0]
    raise MicroLensError(
        f"{path}: {len(found) or 'none'} of its columns {'are' if found else 'is'} known to be the user. Say "
        f"which one is, with --columns user=NAME, of {', '.join(schema.names)}."
    )


def _wrong_type(path: Path, role: str, field: pa.Field) -> MicroLensError:
    return MicroLensError(
        f"{path}: the {role} column {field.name} holds {field.type}, neither whole numbers nor text. Convert "
        "the column, or name another one with --columns."
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_id(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _ids(column: pa.Array, kind: str, is_kept: np.ndarray | None) -> IdColumn:
    """The ids of a column.

    Raises
    ------
    RowError
        One is missing or cannot be taken.
    """
    if column.null_count:
        raise RowError(f"empty {kind}")
    is_number = pa.types.is_integer(column.type) and len(column)
    if is_number and 0 <= pc.min(column).as_py() <= pc.max(column).as_py() < 10**18:
        numbers = column.cast(pa.int64()).to_numpy()
        return IdColumn(numbers=numbers if is_kept is None else numbers[is_kept])
    return plain_ids(pa.chunked_array([column.cast(pa.string())]), kind, is_kept)


def _plain_times(column: pa.Array) -> tuple[np.ndarray, np.ndarray] | None:
    """Microseconds and units, where every cell is a date or a whole number that is not negative."""
    if column.null_count or not len(column):
        return None
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        try:
            times = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)), safe=False)
        except pa.ArrowInvalid:
            return None
        numbers = times.cast(pa.int64()).to_numpy()
        if numbers.min() < _EARLIEST_US:
            return None
        return numbers, np.full(len(numbers), UNITS.index(ISO), dtype=np.uint8)
    if pa.types.is_string(column.type):
        found = plain_numbers(pa.chunked_array([column]))
        return None if found is None else numbers_in_microseconds(found)
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False)
        if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
            return None
        if values.min() < 0 or values.max() >= 2**53:
            return None
        return numbers_in_microseconds(values.astype(np.int64))
    if pa.types.is_integer(column.type) and 0 <= pc.min(column).as_py() <= pc.max(column).as_py() < 10**18:
        return numbers_in_microseconds(column.cast(pa.int64()).to_numpy())
    return None


_EARLIEST_US = -(70 * 365 + 17) * 86_400_000_000  # 1900-01-01, before which a time is not plausible


def _texts(column: pa.Array) -> list[str]:
    """Cells as a text table would have them; a missing one is empty."""
    values = column.to_pylist()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        return ["" if value is None else value.isoformat() for value in values]
    return ["" if value is None else str(value) for value in values]


class _reading:
    """Say it in words where a file is none of Parquet, or damaged."""

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        self._path.open("rb").close()  # an error of the system names the file

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, pa.ArrowException) or kind is OSError and error.errno is None:
            raise MicroLensError(
                f"{self._path} is not a Parquet file, or damaged ({first_line(error)}). Copy the file again."
            ) from error
