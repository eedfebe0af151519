"""Reads the pairs file of a release: who watched what, and when."""

import csv
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.columns import PairsColumns, pairs_columns
from recbole_microlens.release.ids import IdTable
from recbole_microlens.release.rows import BadRows, RowError, first_line, parse_number, read_lines

_LARGEST_TIME = 2**53  # beyond it a float64, which RecBole reads, skips milliseconds
_CHUNK_ROWS = 1_000_000


@dataclass(frozen=True)
class Pairs:
    """The rows of a pairs file, in file order.

    Attributes:
        users, items: the distinct ids.
        user, item: int64 [rows], places in ``users`` and ``items``.
        time_ms: int64 [rows], epoch milliseconds; None for a sequence TSV, whose order is that of the file.
    """

    users: list[str]
    items: list[str]
    user: np.ndarray
    item: np.ndarray
    time_ms: np.ndarray | None


def read_pairs(path: Path, bad: BadRows) -> Pairs:
    """Read ``*_pairs.csv`` (user, item, timestamp in ms) or ``*_pairs.tsv`` (user, items from old to new).

    A header, where there is one, says which column is which. Clean files are parsed by pandas; a file with
    anything unusual in it is read again row by row, so that the row at fault can be named.

    Raises:
        MicroLensError: a row cannot be read and ``bad`` does not skip; the header lacks a column; no
            row is left.
    """
    columns = pairs_columns(path, first_line(path))
    if columns.time is None:
        pairs = _read_sequences(path, columns, bad)
    else:
        pairs = _read_clean(path, columns) or _read_carefully(path, columns, bad)
    if not len(pairs.user):
        raise MicroLensError(f"{path} has no row that can be read ({len(bad.rows)} bad rows were left out).")
    return pairs


def _read_clean(path: Path, columns: PairsColumns) -> Pairs | None:
    """Read a file in which nothing is unusual, or return None: some row needs the careful reader."""
    users, items = IdTable("user"), IdTable("item")
    user, item, time_ms = [], [], []
    try:
        # Infinity becomes the smallest int64, which is refused below.
        with np.errstate(invalid="ignore"), _chunks(path, columns) as chunks:
            for chunk in chunks:
                if not isinstance(
                    chunk.index, pd.RangeIndex
                ):  # more columns than names: the first is an index
                    return None
                user.append(_encode(chunk[columns.user], users))
                item.append(_encode(chunk[columns.item], items))
                time_ms.append(chunk[columns.time].to_numpy())
    except (
        ValueError,
        OverflowError,
    ):  # pandas' ParserError, UnicodeDecodeError and RowError are ValueErrors
        return None
    times = np.concatenate(time_ms) if time_ms else np.empty(0, dtype=np.int64)
    if len(times) == 0 or times.min() < 0 or times.max() > _LARGEST_TIME:
        return None
    return Pairs(users.names, items.names, np.concatenate(user), np.concatenate(item), times)


def _chunks(path: Path, columns: PairsColumns) -> pd.io.parsers.TextFileReader:
    dtypes = dict.fromkeys(range(columns.count), "str") | {columns.time: "int64"}
    return pd.read_csv(
        path,
        sep=columns.separator,
        header=0 if columns.header else None,
        names=list(range(columns.count)),
        dtype=dtypes,
        na_filter=False,
        quoting=csv.QUOTE_NONE,
        encoding="utf-8-sig",
        float_precision="round_trip",
        chunksize=_CHUNK_ROWS,
    )


def _encode(column: pd.Series, table: IdTable) -> np.ndarray:
    """Codes of the ids of a column, int64; an id is cleaned once, however often it occurs."""
    places, distinct = pd.factorize(column)
    texts = distinct.tolist()
    if any('"' in text for text in texts):
        raise RowError("a quote, which the careful reader takes for CSV quoting")
    return np.array([table.code(text) for text in texts], dtype=np.int64)[places]


def _read_carefully(path: Path, columns: PairsColumns, bad: BadRows) -> Pairs:
    users, items = IdTable("user"), IdTable("item")
    user, item, time_ms = array("q"), array("q"), array("q")
    for number, text in _data_lines(path, columns, bad):
        try:
            cells = _split(text, columns)
            row = (
                users.code(cells[columns.user]),
                items.code(cells[columns.item]),
                _milliseconds(cells[columns.time]),
            )
        except RowError as error:
            bad.add(path, number, str(error), text)
            continue
        for values, value in zip((user, item, time_ms), row, strict=True):
            values.append(value)
    return Pairs(users.names, items.names, _int64(user), _int64(item), _int64(time_ms))


def _read_sequences(path: Path, columns: PairsColumns, bad: BadRows) -> Pairs:
    users, items = IdTable("user"), IdTable("item")
    user, item = array("q"), array("q")
    for number, text in _data_lines(path, columns, bad):
        try:
            cells = _split(text, columns)
            watched = [items.code(name) for name in cells[columns.item].split()]
            if not watched:
                raise RowError("no items after the user")
            watcher = users.code(cells[columns.user])
        except RowError as error:
            bad.add(path, number, str(error), text)
            continue
        item.extend(watched)
        user.extend([watcher] * len(watched))
    return Pairs(users.names, items.names, _int64(user), _int64(item), None)


def _data_lines(path: Path, columns: PairsColumns, bad: BadRows):
    lines = read_lines(path, bad)
    if columns.header:
        next(lines, None)
    return tqdm(lines, desc=f"reading {path.name}", unit=" rows", delay=2, disable=None)


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


def _milliseconds(text: str) -> int:
    if text.isascii() and text.isdigit():
        number = int(text)  # exact, where a float is not
    else:
        value = parse_number(text, "timestamp")
        number = int(value)
        if number != value:
            raise RowError(f"timestamp {text!r} is not a whole number of milliseconds")
    if number > _LARGEST_TIME:
        raise RowError(f"timestamp {text!r} is too large for milliseconds")
    return number


def _int64(values: array) -> np.ndarray:
    return np.frombuffer(values, dtype=np.int64) if len(values) else np.empty(0, dtype=np.int64)
