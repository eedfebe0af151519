"""Reads the pairs file of a release, or an app's log: who watched what, and when."""

import csv
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_microlens.compat.exact_floats import exact_floats
from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.release.columns import PairsColumns, pairs_columns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.ids import IdTable
from recbole_microlens.release.plain import PlainBytes
from recbole_microlens.release.rows import BadRows, RowError, first_line, open_bytes, read_lines
from recbole_microlens.release.times import UNITS, TimeUnit, in_microseconds, microseconds, unit_of

_CHUNK_ROWS = 1_000_000


@dataclass(frozen=True)
class Pairs:
    """The rows of a pairs file, in file order.

    Attributes
    ----------
    users, items : list[str]
        The distinct ids.
    user, item : np.ndarray [rows], int64
        Places in ``users`` and ``items``.
    time_us : np.ndarray [rows], int64, or None
        Microseconds since 1970; None for a sequence TSV, whose order is that of the file. Plain numbers,
        which are not plausible times, are taken for milliseconds.
    columns : PairsColumns
        Which column was taken for what.
    unit : TimeUnit | None
        What the times are written in; None for a sequence TSV.
    events : Mapping[str, int]
        The rows of each kind of event, those that were left out too; empty without such a column.
    respelled : int
        Spellings of ids whose white space within became single spaces.
    """

    users: list[str]
    items: list[str]
    user: np.ndarray
    item: np.ndarray
    time_us: np.ndarray | None
    columns: PairsColumns
    unit: TimeUnit | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    respelled: int = 0

    @property
    def time_ms(self) -> np.ndarray | None:
        """Whole milliseconds since 1970, int64 [rows]."""
        return None if self.time_us is None else self.time_us // 1000


def read_pairs(
    path: Path, bad: BadRows, named: Mapping[str, str] | None = None, events: tuple[str, ...] = ()
) -> Pairs:
    """Read ``*_pairs.csv`` (user, item, time), ``*_pairs.tsv`` (user, items from old to new), or a log.

    A header, where there is one, says which column is which. Times are ISO 8601, or numbers whose unit shows
    in their size; all rows must have one unit. Clean files are parsed by pandas; a file with anything unusual
    in it is read again row by row, so that the row at fault can be named.

    Parameters
    ----------
    path : Path
        The file; one that ends in ``.gz`` is unpacked.
    bad : BadRows
        Takes rows that cannot be read.
    named : Mapping[str, str], optional
        Columns by what they are; see :func:`~recbole_microlens.release.columns.pairs_columns`.
    events : tuple[str, ...], default ()
        The kinds of events to take; all by default.

    Raises
    ------
    MicroLensError
        A row cannot be read and ``bad`` does not skip; the header lacks a column; a kind of event is in no
        row; no row is left.
    """
    columns = pairs_columns(path, first_line(path), named)
    kept = EventFilter(path, columns, events)
    if columns.time is None:
        pairs = _read_sequences(path, columns, bad)
    else:
        pairs = _read_clean(path, columns, kept) or _read_carefully(path, columns, kept, bad)
    kept.require_found(pairs.events)
    if not len(pairs.user):
        raise MicroLensError(f"{path} has no row that can be read ({len(bad.rows)} bad rows were left out).")
    return pairs


def _read_clean(path: Path, columns: PairsColumns, kept: EventFilter) -> Pairs | None:
    """Read a file in which nothing is unusual, or return None: some row needs the careful reader."""
    users, items = IdTable("user"), IdTable("item")
    user, item, times = [], [], []
    events: Counter[str] = Counter()
    lines = int(columns.header)
    try:
        # Infinity becomes the smallest int64, which is refused below.
        with (
            np.errstate(invalid="ignore"),
            PlainBytes(open_bytes(path), columns.separator) as plain,
            _chunks(plain, columns) as chunks,
        ):
            for chunk in chunks:
                if plain.odd or _is_ragged(chunk, columns) or (plain.quotes and _has_open_quote(chunk)):
                    return None
                lines += len(chunk)
                chunk = kept.of_chunk(chunk, events)
                user.append(_encode(chunk[columns.user], users))
                item.append(_encode(chunk[columns.item], items))
                times.append(chunk[columns.time].to_numpy())
                if _may_be_other_numbers(times[-1]):
                    return None
    # pandas' ParserError, UnicodeDecodeError and RowError are ValueErrors
    except (ValueError, OverflowError, EOFError, OSError, zlib.error):
        return None
    if plain.separators != lines * (columns.count - 1):  # pandas cuts a long row at the start of a chunk
        return None
    numbers = np.concatenate(times) if times else np.empty(0, dtype=np.int64)
    if len(numbers) == 0 or numbers.min() < 0:
        return None
    unit = unit_of(int(numbers.min()))
    if unit != unit_of(int(numbers.max())):
        return None
    codes = np.concatenate(user), np.concatenate(item)
    times_us, respelled = in_microseconds(numbers, unit), users.respelled + items.respelled
    return Pairs(users.names, items.names, *codes, times_us, columns, unit, events, respelled)


def _chunks(plain: PlainBytes, columns: PairsColumns) -> pd.io.parsers.TextFileReader:
    dtypes = dict.fromkeys(range(columns.count), "str") | {columns.time: "int64"}
    return pd.read_csv(
        plain.buffered(),
        sep=columns.separator,
        header=0 if columns.header else None,
        names=list(range(columns.count)),
        dtype=dtypes,
        na_filter=False,
        quoting=csv.QUOTE_NONE,
        encoding="utf-8-sig",
        **exact_floats(),
        chunksize=_CHUNK_ROWS,
    )


def _is_ragged(chunk: pd.DataFrame, columns: PairsColumns) -> bool:
    """Whether some row may have more or fewer columns than the header."""
    if not isinstance(chunk.index, pd.RangeIndex):  # more columns than names: the first is an index
        return True
    last = columns.count - 1  # pandas fills a short row with empty cells
    return last not in (columns.user, columns.item, columns.time) and bool((chunk[last] == "").any())


def _may_be_other_numbers(times: np.ndarray) -> bool:
    """Whether pandas may have made whole numbers of what is none, or others: True is 1 to it, 1e-400 is 0,
    and where one number of a chunk has a point, all are rounded to float64.
    """
    if len(times) == 0:
        return False
    if times.dtype != np.int64:  # above 2^63
        return True
    least, most = times.min(), times.max()
    rounded = most >= 2**53 and bool((times.astype(np.float64).astype(np.int64) == times).all())
    return least == 0 or most <= 1 or rounded


def _has_open_quote(chunk: pd.DataFrame) -> bool:
    """Whether a quote may continue in the next line, so that a line is not a row."""
    texts = (chunk[name] for name, kind in chunk.dtypes.items() if not pd.api.types.is_integer_dtype(kind))
    return any((column.str.count('"') % 2 == 1).any() for column in texts)


def _encode(column: pd.Series, table: IdTable) -> np.ndarray:
    """Codes of the ids of a column, int64; an id is cleaned once, however often it occurs."""
    places, distinct = pd.factorize(column)
    texts = distinct.tolist()
    if any('"' in text for text in texts):
        raise RowError("a quote, which the careful reader takes for CSV quoting")
    return np.array([table.code(text) for text in texts], dtype=np.int64)[places]


def _read_carefully(path: Path, columns: PairsColumns, kept: EventFilter, bad: BadRows) -> Pairs:
    assert columns.time is not None  # a file of whole sequences has its own reader
    users, items = IdTable("user"), IdTable("item")
    user, item, times, units, lines = array("q"), array("q"), array("q"), array("b"), array("q")
    events: Counter[str] = Counter()
    for number, text in _data_lines(path, columns, bad):
        try:
            cells = _split(text, columns)
            if not kept.takes(cells, events):
                continue
            codes = users.code(cells[columns.user]), items.code(cells[columns.item])
            unit, time = microseconds(cells[columns.time])
        except RowError as error:
            hint = "" if columns.header or number > 1 else _HEADER_HINT
            bad.add(path, number, f"{error}{hint}", text)
            continue
        row = (*codes, time, UNITS.index(unit), number)
        for values, value in zip((user, item, times, units, lines), row, strict=True):
            values.append(value)
    place_of_unit = np.array(units, dtype=np.int64)
    most = UNITS[np.bincount(place_of_unit).argmax()] if len(units) else UNITS[0]
    same = place_of_unit == UNITS.index(most)
    _report_other_units(path, place_of_unit, most, _int64(lines), bad)
    user_kept, item_kept, times_kept = (_int64(values)[same] for values in (user, item, times))
    respelled = users.respelled + items.respelled
    unit_found = most if len(units) else None
    return Pairs(
        users.names, items.names, user_kept, item_kept, times_kept, columns, unit_found, events, respelled
    )


_HEADER_HINT = (
    " (if this line is a header, say what its columns are: --columns user=NAME,item=NAME,time=NAME)"
)


def _report_other_units(
    path: Path, units: np.ndarray, most: TimeUnit, lines: np.ndarray, bad: BadRows
) -> None:
    """Give the rows whose time is in another unit than that of most rows to ``bad``."""
    others = {int(lines[row]): UNITS[units[row]] for row in np.flatnonzero(units != UNITS.index(most))}
    if not others:
        return
    count = int((units == UNITS.index(most)).sum())
    for number, text in read_lines(path, BadRows(skip=True)):
        if number in others:
            reason = f"its time is in {others[number].name}, {count:,} other rows have {most.name}"
            bad.add(path, number, reason, text)


def _read_sequences(path: Path, columns: PairsColumns, bad: BadRows) -> Pairs:
    users, items = IdTable("user"), IdTable("item")
    user, item = array("q"), array("q")
    for number, text in _data_lines(path, columns, bad):
        try:
            cells = _split(text, columns)
            # At spaces alone: a control character, which is white space too, does not end an id.
            watched = [items.code(name) for name in cells[columns.item].split(" ") if name]
            if not watched:
                raise RowError("no items after the user")
            watcher = users.code(cells[columns.user])
        except RowError as error:
            bad.add(path, number, str(error), text)
            continue
        item.extend(watched)
        user.extend([watcher] * len(watched))
    respelled = users.respelled + items.respelled
    return Pairs(users.names, items.names, _int64(user), _int64(item), None, columns, respelled=respelled)


def _data_lines(path: Path, columns: PairsColumns, bad: BadRows) -> Iterator[tuple[int, str]]:
    lines = read_lines(path, bad)
    if columns.header:
        next(lines, None)
    return tqdm(lines, desc=f"reading {printable(path.name)}", unit=" rows", delay=2, disable=None)


def _split(text: str, columns: PairsColumns) -> list[str]:
    cells = text.split(columns.separator)
    if '"' in text:
        try:
            cells = next(csv.reader([text], delimiter=columns.separator, strict=True))
        except csv.Error as error:
            raise RowError(f"bad quoting ({error})") from error
    if len(cells) != columns.count:
        raise RowError(f"{len(cells)} columns instead of {columns.count}")
    return cells


def _int64(values: array) -> np.ndarray:
    return np.frombuffer(values, dtype=np.int64) if len(values) else np.empty(0, dtype=np.int64)
