"""Checks an atomic file before RecBole or pandas reads it, because both silently change what is odd.

A row that ends early is filled with NaN, an empty time becomes the mean of all times, a row without an id is
dropped, a field ends at a NUL byte. The check looks at the bytes of many rows at once, by array operations;
rows among which it sees something unusual are looked at one by one.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.ids import MISSING_WORDS
from recbole_microlens.release.rows import LONGEST_FIELD, LONGEST_LINE, NUMBER, RowError, quoted

_BLOCK = 1 << 22
_FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
_SURELY_FINITE = 300  # digits
_WORDS = [np.frombuffer(word.encode(), dtype=np.uint8) for word in sorted(MISSING_WORDS) if word]
_LONGEST_WORD = max(map(len, _WORDS))
_BEGINS_WORD = np.isin(np.arange(256), [word[0] for word in _WORDS])
_LINE_FEED, _POINT = ord("\n"), ord(".")


@dataclass(frozen=True)
class _Table:
    """A file, its columns, and the places of ids, of times, and of numbers that may be missing."""

    path: Path
    separator: str
    columns: list[str]
    ids: list[int]
    times: list[int]
    numbers: list[int]

    def error(self, line: int, reason: str, text: str) -> MicroLensError:
        return MicroLensError(
            f"{self.path}, line {line}: {reason}: {quoted(text, 100)}. Correct the row, or remove it."
        )


def check_atomic(
    path: Path,
    ids: Sequence[str],
    times: Sequence[str] = (),
    distinct: str | None = None,
    loaded: Collection[str] | None = None,
    separator: str = "\t",
    encoding: str = "utf-8",
) -> None:
    """Raise a :class:`MicroLensError` with file, line and column if a row would be read as something else.

    Parameters
    ----------
    path : Path
        ``.inter``, ``.item`` or the like; its first line names the columns, ``item_id:token``.
    ids : Sequence[str]
        Columns that are never empty, nor a word that pandas reads as missing, where the file has them.
    times : Sequence[str], default ()
        Columns of finite numbers, none missing. Other numbers may be missing.
    distinct : str, optional
        The column no two rows of which are the same.
    loaded : Collection[str], optional
        The columns that are read; in others any number will do. All by default.
    separator : str
        Between two fields.
    encoding : str, default 'utf-8'
        Of the file.
    """
    blocks = _blocks(path, encoding)
    table = _table(path, next(blocks, (1, b""))[1], separator, ids, times, loaded)
    unique = table.columns.index(distinct) if distinct in table.columns else None
    seen: dict[str, int] = {}
    line = 0
    for line, block in blocks:
        if unique is None and _is_plain(block, table):
            continue
        for number, text, cells in _rows(block, line, table):
            _check_row(number, text, cells, table)
            if unique is not None and seen.setdefault(cells[unique], number) != number:
                reason = f"{distinct} {quoted(cells[unique])} is already in line {seen[cells[unique]]}"
                raise table.error(number, reason, text)
    if line == 0:
        raise MicroLensError(f"{path} has no row. Convert the release again.")


def _blocks(path: Path, encoding: str) -> Iterator[tuple[int, bytes]]:
    """The header, then blocks of whole lines: number of the first line, bytes in UTF-8 with line feeds."""
    line, rest = 1, b""
    for part in _parts(path, encoding):
        rest += part
        if rest.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and line == 1:
            raise MicroLensError(f"{path} begins with a byte order mark. Save it as UTF-8 without one.")
        if part and b"\n" not in rest and len(rest) > LONGEST_LINE:
            raise MicroLensError(f"{path}, line {line}: a line of more than {LONGEST_LINE:,} bytes.")
        # At the end of a part a carriage return may be half a line end.
        whole = rest if not part else rest[: rest.rfind(b"\n", 0, -1) + 1]
        rest = rest[len(whole) :]
        if b"\r" in whole:
            whole = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if line == 1 and whole:
            header, _, whole = whole.partition(b"\n")
            yield line, header
            line += 1
        if whole:
            whole += b"" if whole.endswith(b"\n") else b"\n"
            yield line, whole
            line += whole.count(b"\n")


def _parts(path: Path, encoding: str) -> Iterator[bytes]:
    """The bytes of a file as UTF-8; the last part is empty."""
    try:
        if codecs.lookup(encoding).name == "utf-8":
            with path.open("rb") as stream:
                yield from iter(lambda: stream.read(_BLOCK), b"")
        else:
            with path.open(encoding=encoding, newline="") as stream:
                yield from iter(lambda: stream.read(_BLOCK).encode(), b"")
    except (LookupError, UnicodeError) as error:
        raise MicroLensError(f"{path} cannot be read with `encoding: {encoding}` ({error}).") from error
    yield b""


def _table(path: Path, header: bytes, separator: str, ids, times, loaded) -> _Table:
    text = header.decode(errors="replace")
    try:
        named = [cell.rpartition(":") for cell in _split(text, separator)]
    except (csv.Error, re.error):
        named = [("", "", text)]
    columns = [name for name, _, _ in named]
    if not all(name and kind in _FIELD_TYPES for name, _, kind in named):
        raise MicroLensError(
            f"{path}, line 1: {quoted(text, 200)} is not the header of an atomic file: names and types such "
            f"as user_id:token, types {', '.join(_FIELD_TYPES)}, with the separator {separator!r} between "
            "two."
        )
    repeated = [name for name in columns if columns.count(name) > 1]
    if repeated:
        raise MicroLensError(f"{path}, line 1: the header names {repeated[0]} twice. Rename one of the two.")
    numbers = [
        place
        for place, (name, _, kind) in enumerate(named)
        if kind == "float" and (loaded is None or name in loaded)
    ]
    return _Table(
        path,
        separator,
        columns,
        ids=[place for place, name in enumerate(columns) if name in ids],
        times=[place for place in numbers if columns[place] in times],
        numbers=[place for place in numbers if columns[place] not in times],
    )


def _is_plain(block: bytes, table: _Table) -> bool:
    """Whether all rows are surely as they must be; no where it takes a closer look."""
    separator, width = table.separator, len(table.columns)
    if len(separator) != 1 or not separator.isascii() or separator.isalnum() or separator in '."':
        return False
    if b"\0" in block or b'"' in block or not _is_utf8(block):
        return False
    data = np.frombuffer(block, dtype=np.uint8)
    other = np.flatnonzero(data - np.uint8(48) > 9)  # places of bytes that are no digits
    marks = data[other]
    of_end = np.flatnonzero((marks == ord(separator)) | (marks == _LINE_FEED))  # places in other
    if len(of_end) % width:
        return False
    ends_line = (marks[of_end] == _LINE_FEED).reshape(-1, width)
    if ends_line[:, :-1].any() or not ends_line[:, -1].all():
        return False
    stop = other[of_end]
    start = np.concatenate([[0], stop[:-1] + 1])
    length = stop - start
    others = np.diff(of_end, prepend=-1) - 1  # bytes of the field that are no digits
    last_other = marks[of_end - 1]
    is_number = (length > 0) & (length < _SURELY_FINITE) & (others == 0)
    is_number |= (length > 1) & (length < _SURELY_FINITE) & (others == 1) & (last_other == _POINT)
    fields = [values.reshape(-1, width) for values in (start, length, others, is_number)]
    start, length, others, is_number = fields
    return (
        int(length.max()) <= LONGEST_FIELD
        and all(_all_ids(data, start[:, id_], length[:, id_], others[:, id_]) for id_ in table.ids)
        and all(bool(is_number[:, time].all()) for time in table.times)
        and all(bool((is_number[:, place] | (length[:, place] == 0)).all()) for place in table.numbers)
    )


def _is_utf8(block: bytes) -> bool:
    try:
        return block.isascii() or bool(block.decode())
    except UnicodeDecodeError:
        return False


def _all_ids(data: np.ndarray, start: np.ndarray, length: np.ndarray, others: np.ndarray) -> bool:
    """Whether no field is empty or a word that is read as missing."""
    if not length.all():
        return False
    near = np.flatnonzero((others > 0) & (length <= _LONGEST_WORD) & _BEGINS_WORD[data[start]])
    start, length = start[near], length[near]
    for word in _WORDS:
        at = start[length == len(word)]
        if (data[at[:, None] + np.arange(len(word))] == word).all(axis=1).any():
            return False
    return True


def _rows(block: bytes, line: int, table: _Table) -> Iterator[tuple[int, str, list[str]]]:
    """Number, text and fields of each line that is not blank."""
    for number, raw in enumerate(block[:-1].split(b"\n"), start=line):
        text = raw.decode(errors="backslashreplace")
        if not text.strip(" "):
            continue
        try:
            if "\0" in text:
                raise RowError("holds a NUL byte")
            if not _is_utf8(raw):
                raise RowError("not UTF-8")
            yield number, text, _split(text, table.separator)
        except (RowError, csv.Error) as error:
            reason = f"bad quoting ({error})" if isinstance(error, csv.Error) else str(error)
            raise table.error(number, reason, text) from error


def _split(text: str, separator: str) -> list[str]:
    """The fields of a line as RecBole splits it: with CSV quotes, or by a longer separator as a pattern."""
    if len(separator) > 1:
        return re.split(separator, text)
    return next(csv.reader([text], delimiter=separator, strict=True), [])


def _check_row(number: int, text: str, cells: list[str], table: _Table) -> None:
    if len(cells) != len(table.columns):
        raise table.error(number, f"{len(cells)} fields instead of {len(table.columns)}", text)
    for place in table.ids:
        if cells[place] in MISSING_WORDS:
            reason = f"column {table.columns[place]}: {cells[place]!r} is read as missing, not as an id"
            raise table.error(number, reason, text)
    for place in (*table.times, *table.numbers):
        may_miss = place in table.numbers and cells[place].strip() in MISSING_WORDS
        if not may_miss and not _is_finite(cells[place].strip()):
            reason = f"column {table.columns[place]}: {quoted(cells[place])} is not a finite number"
            raise table.error(number, reason, text)


def _is_finite(text: str) -> bool:
    return NUMBER.fullmatch(text) is not None and math.isfinite(float(text))
