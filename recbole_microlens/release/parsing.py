"""A block of a pairs file as columns: by pyarrow where nothing in it is unusual, otherwise row by row.

What comes out is the same by both ways; the row at fault can be named by the second alone.
"""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from recbole_microlens.release.blocks import Block
from recbole_microlens.release.columns import PairsColumns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.ids import IdColumn, IdTable, clean_id
from recbole_microlens.release.rows import RowError
from recbole_microlens.release.times import UNITS, microseconds, numbers_in_microseconds

_MOST_DIGITS = 18  # of a number that is surely below 2^63
_HEADER_HINT = (
    " (if this line is a header, say what its columns are: --columns user=NAME,item=NAME,time=NAME)"
)


@dataclass(frozen=True)
class Rows:
    """Interactions in file order.

    Attributes
    ----------
    user, item : IdColumn [rows]
    time_us : np.ndarray [rows], int64, or None
        Microseconds since 1970; None for sequences without times.
    unit : np.ndarray [rows], uint8, or None
        What each time is written in, as its place in :data:`~recbole_microlens.release.times.UNITS`.
    """

    user: IdColumn
    item: IdColumn
    time_us: np.ndarray | None
    unit: np.ndarray | None

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class Parsed:
    """What a block holds.

    Attributes
    ----------
    rows : Rows
        Those that can be read and are of a wanted kind.
    bad : list[tuple[int, str, str]]
        Of the others that cannot be read: line, reason, text.
    events : Counter[str]
        The rows of each kind of event, those that are not wanted too.
    """

    rows: Rows
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)


def parse_block(block: Block, columns: PairsColumns, kept: EventFilter, is_first: bool) -> Parsed:
    """Read the rows of a block.

    Parameters
    ----------
    block : Block
    columns : PairsColumns
        The columns of the file.
    kept : EventFilter
        The kinds of events to take.
    is_first : bool
        Whether nothing but blank lines stands before the block, so that a header may stand in it.
    """
    header = is_first and columns.header
    if columns.time is None:
        return _parse_sequences(block, columns, header)
    return parse_plain(block, columns, kept, header) or parse_carefully(block, columns, kept, header)


def parse_plain(block: Block, columns: PairsColumns, kept: EventFilter, header: bool) -> Parsed | None:
    """The rows of a block in which nothing is unusual; None where some row needs the careful reader."""
    assert columns.time is not None
    data = block.data
    # At a NUL byte, a quote or a carriage return alone parsers differ in what they take for a cell or a row.
    if b"\0" in data or b'"' in data or data.count(b"\r") != data.count(b"\r\n"):
        return None
    if header:
        data = _without_header(data)
    try:
        if not data.isascii():
            data.decode()
        table = _read_csv(data, columns) if data.strip() else None
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    if table is None:
        return Parsed(empty_rows())
    time_us_and_unit = _plain_times(table[str(columns.time)])
    if time_us_and_unit is None:
        return None
    events: Counter[str] = Counter()
    is_kept = None
    if columns.event is not None:
        kinds = table[str(columns.event)].combine_chunks().dictionary_encode()
        is_kept = kept.mask(kinds.indices.to_numpy(), kinds.dictionary.to_pylist(), events)
    try:
        user = plain_ids(table[str(columns.user)], "user", is_kept)
        item = plain_ids(table[str(columns.item)], "item", is_kept)
    except RowError:
        return None
    time_us, unit = time_us_and_unit
    if is_kept is not None:
        time_us, unit = time_us[is_kept], unit[is_kept]
    return Parsed(Rows(user, item, time_us, unit), events=events)


def _without_header(data: bytes) -> bytes:
    """The bytes behind the first line that is not blank."""
    while data:
        line, _, data = data.partition(b"\n")
        if line.strip():
            break
    return data


def _read_csv(data: bytes, columns: PairsColumns) -> pa.Table:
    names = [str(place) for place in range(columns.count)]
    wanted = [
        place for place in (columns.user, columns.item, columns.time, columns.event) if place is not None
    ]
    return arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(column_names=names, block_size=max(len(data) // 4, 1 << 20)),
        parse_options=arrow_csv.ParseOptions(
            delimiter=columns.separator, quote_char=False, escape_char=False, newlines_in_values=False
        ),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=[str(place) for place in wanted],
            column_types=dict.fromkeys(names, pa.string()),
            strings_can_be_null=False,
            check_utf8=False,
        ),
    )


def _plain_times(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray] | None:
    numbers = plain_numbers(column)
    return None if numbers is None else numbers_in_microseconds(numbers)


def plain_numbers(column: pa.ChunkedArray) -> np.ndarray | None:
    """Whole numbers in digits alone, int64; None where some cell is something else."""
    if not pc.all(pc.ascii_is_decimal(column)).as_py():
        return None
    if (pc.max(pc.binary_length(column)).as_py() or 0) > _MOST_DIGITS:
        return None
    return column.cast(pa.int64()).to_numpy()


def plain_ids(column: pa.ChunkedArray, kind: str, is_kept: np.ndarray | None) -> IdColumn:
    """The ids of a column of texts, of the rows that are kept.

    Raises
    ------
    RowError
        As :func:`~recbole_microlens.release.ids.clean_id` does.
    """
    if not pc.any(pc.starts_with(column, "0")).as_py():
        numbers = plain_numbers(column)
        if numbers is not None:
            return IdColumn(numbers=numbers if is_kept is None else numbers[is_kept])
    if is_kept is not None:
        column = column.filter(pa.array(is_kept))
    encoded = column.combine_chunks().dictionary_encode()
    return id_column(encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist(), kind)


def id_column(codes: np.ndarray, texts: list[str], kind: str) -> IdColumn:
    """Ids by the places of their spellings, which are cleaned.

    Raises
    ------
    RowError
        As :func:`~recbole_microlens.release.ids.clean_id` does.
    """
    table = IdTable(kind)
    places = np.array([table.code(text) for text in texts], dtype=np.int64)
    return IdColumn(codes=places[codes], names=table.names, respelled=frozenset(table.respelled))


def empty_rows(has_times: bool = True) -> Rows:
    """No interactions."""
    none = np.empty(0, dtype=np.int64)
    ids = IdColumn(codes=none, names=[])
    return Rows(ids, ids, none if has_times else None, none.astype(np.uint8) if has_times else None)


def parse_carefully(block: Block, columns: PairsColumns, kept: EventFilter, header: bool) -> Parsed:
    """The rows of a block one by one."""
    bad: list[tuple[int, str, str]] = []
    rows = ((number, text, text) for number, text in _texts(block, header, bad))
    return parse_cells(rows, columns, kept, bad)


def parse_cells(
    rows: Iterable[tuple[int, str | list[str], str]],
    columns: PairsColumns,
    kept: EventFilter,
    bad: list[tuple[int, str, str]] | None = None,
) -> Parsed:
    """Rows of a user, an item and a time.

    Parameters
    ----------
    rows : Iterable[tuple[int, str or list[str], str]]
        Number, line or cells, and what a report of a bad row shows.
    columns, kept
        See :func:`parse_block`.
    bad : list[tuple[int, str, str]], optional
        Gets the rows that cannot be read.
    """
    assert columns.time is not None  # a file of whole sequences has its own reader
    users, items = IdTable("user"), IdTable("item")
    user, item, times, units = array("q"), array("q"), array("q"), array("B")
    parsed = Parsed(empty_rows(), [] if bad is None else bad)
    for number, line, text in rows:
        try:
            cells = split_row(line, columns) if isinstance(line, str) else line
            if not kept.takes(cells, parsed.events):
                continue
            codes = users.code(cells[columns.user]), items.code(cells[columns.item])
            unit, time = microseconds(cells[columns.time])
        except RowError as error:
            hint = "" if columns.header or number > 1 else _HEADER_HINT
            parsed.bad.append((number, f"{error}{hint}", text))
            continue
        for values, value in zip((user, item, times, units), (*codes, time, UNITS.index(unit)), strict=True):
            values.append(value)
    found = Rows(
        users.column(user),
        items.column(item),
        np.array(times, dtype=np.int64),
        np.array(units, dtype=np.uint8),
    )
    return Parsed(found, parsed.bad, parsed.events)


def _parse_sequences(block: Block, columns: PairsColumns, header: bool) -> Parsed:
    bad: list[tuple[int, str, str]] = []

    def rows():
        for number, text in _texts(block, header, bad):
            try:
                cells = split_row(text, columns)
            except RowError as error:
                bad.append((number, str(error), text))
                continue
            # At spaces alone: a control character, which is white space too, does not end an id.
            yield number, cells[columns.user], [name for name in cells[columns.item].split(" ") if name], text

    return parse_sequence_cells(rows(), bad)


def parse_sequence_cells(
    rows: Iterable[tuple[int, str, list[str], str]], bad: list[tuple[int, str, str]] | None = None
) -> Parsed:
    """Rows of a user and his items from old to new; number, user, items, and what a report shows."""
    users, items = IdTable("user"), IdTable("item")
    user, item = array("q"), array("q")
    bad = [] if bad is None else bad
    for number, watcher_text, names, text in rows:
        try:
            watched = [items.code(name) for name in names]
            if not watched:
                raise RowError("no items after the user")
            watcher = users.code(watcher_text)
        except RowError as error:
            bad.append((number, str(error), text))
            continue
        item.extend(watched)
        user.extend([watcher] * len(watched))
    return Parsed(Rows(users.column(user), items.column(item), None, None), bad)


def rows_of_other_units(block: Block, columns: PairsColumns, kept: EventFilter, header: bool, unit: int):
    """(line, unit, text) of the rows that can be read and whose time is in another unit than ``unit``."""
    assert columns.time is not None
    for number, text in _texts(block, header, []):
        try:
            cells = split_row(text, columns)
            if kept.takes(cells, Counter()):
                for place, kind in ((columns.user, "user"), (columns.item, "item")):
                    clean_id(cells[place], kind)
                found = UNITS.index(microseconds(cells[columns.time])[0])
                if found != unit:
                    yield number, found, text
        except RowError:
            continue


def _texts(block: Block, header: bool, bad: list[tuple[int, str, str]]):
    """(number, text) of the lines that are not blank, without the header; others than UTF-8 go to ``bad``."""
    for number, raw in block.lines():
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 ({error.reason} at byte {error.start} of the line)"
            bad.append((number, reason, raw.decode("utf-8", errors="backslashreplace")))
            continue
        if not text.strip():
            continue
        if header:
            header = False
            continue
        yield number, text


def split_row(text: str, columns: PairsColumns) -> list[str]:
    """The cells of a row.

    Raises
    ------
    RowError
        Its quotes do not close, or it has another number of cells than the first line.
    """
    cells = text.split(columns.separator)
    if '"' in text:
        try:
            cells = next(csv.reader([text], delimiter=columns.separator, strict=True))
        except csv.Error as error:
            raise RowError(f"bad quoting ({error})") from error
    if len(cells) != columns.count:
        raise RowError(f"{len(cells)} columns instead of {columns.count}")
    return cells
