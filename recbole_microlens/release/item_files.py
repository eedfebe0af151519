"""Reads what a release says about its items: titles, tags, likes and views."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.columns import header_cell, starts_with_item_name
from recbole_microlens.release.ids import clean_id
from recbole_microlens.release.layout import Release
from recbole_microlens.release.rows import (
    LONGEST_FIELD,
    BadRows,
    RowError,
    parse_number,
    quoted,
    read_lines,
)

_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"(?!")')
_EXACT = 2**53  # whole numbers below are what they are in a float column
_MOST_LINES = 200  # of one quoted title; a quote that is still open then was never meant as CSV quoting


@dataclass
class ItemTable:
    """Item id -> value, the first row of each item; ``repeated`` counts the later ones."""

    values: dict = field(default_factory=dict)
    repeated: int = 0

    def add(self, item: str, value: object) -> None:
        """Keep the value unless the item has one."""
        if item in self.values:
            self.repeated += 1
        else:
            self.values[item] = value


def read_texts(path: Path, known_items: Collection[str], bad: BadRows) -> ItemTable:
    """Read ``item,text`` rows: titles or tags, comma or (``.tsv``) tab, with or without a header.

    A text is quoted CSV if its quotes are balanced to the end, over several lines if need be; otherwise
    everything after the first separator is the text, quotes and commas included. A line that begins with an
    item is never taken into an open quote of the line before, so a stray quote costs nothing but itself.

    Parameters
    ----------
    path : Path
        The file.
    known_items : Collection[str]
        The item ids of the pairs file, to tell a new row from the next line of a quoted text.
    bad : BadRows
        Takes rows without a separator or without an item.

    Returns
    -------
    ItemTable
        Item id -> text, line breaks within the text kept.

    Raises
    ------
    MicroLensError
        The header names more than an item and a text.
    """
    lines = list(read_lines(path, bad))
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    if lines and starts_with_item_name(lines[0][1], separator):
        _require_two_columns(path, lines.pop(0)[1], separator)
    table = ItemTable()
    for number, record in _records(lines, separator, _RowStarts(lines, separator, known_items)):
        try:
            item, found, text = _parted(record, separator)
            if not found:
                raise RowError(f"no {separator!r} between an item and its text")
            table.add(clean_id(_unquoted(item), "item"), _require_readable(_unquoted(text)))
        except RowError as error:
            bad.add(path, number, str(error), record)
    return table


def _require_two_columns(path: Path, header: str, separator: str) -> None:
    """Everything behind the first separator is the text: further columns would become part of it."""
    if '"' not in header and header.count(separator) > 1:
        raise MicroLensError(
            f"{path}, line 1: the header {quoted(header, 200)} names {header.count(separator) + 1} columns; "
            "expected two, the item and its text. Write a file with these two, or remove this one."
        )


def _require_readable(text: str) -> str:
    if len(text) > LONGEST_FIELD:
        raise RowError(f"a text of {len(text):,} characters; RecBole reads {LONGEST_FIELD:,}")
    return text


class _RowStarts:
    """Answers whether a line begins a row of its own: with an item id that begins no other line."""

    def __init__(self, lines: list[tuple[int, str]], separator: str, known_items: Collection[str]) -> None:
        self.separator = separator
        self.known = set(known_items)
        self.numbered = all(item.isdecimal() for item in self.known)
        self.begun = Counter(self._item(text) for _, text in lines)

    def __contains__(self, text: str) -> bool:
        item = self._item(text)
        if item is None or self.begun[item] > 1:
            # A line "10,000 views" inside a quoted title begins like the row of item 10, which is elsewhere.
            return False
        return item in self.known or (self.numbered and item.isdecimal())

    def _item(self, text: str) -> str | None:
        item, found, _ = _parted(text, self.separator)
        return _unquoted(item).strip() if found else None


def _records(
    lines: list[tuple[int, str]], separator: str, row_starts: _RowStarts
) -> Iterator[tuple[int, str]]:
    place = 0
    while place < len(lines):
        size = _lines_of_record(lines, place, separator, row_starts)
        yield lines[place][0], "\n".join(text for _, text in lines[place : place + size])
        place += size


def _lines_of_record(lines: list[tuple[int, str]], place: int, separator: str, row_starts: _RowStarts) -> int:
    """Return how many lines the record has that begins at ``place``: 1 unless a quoted text continues."""
    text = _parted(lines[place][1], separator)[2].strip()
    if not text.startswith('"') or _QUOTED.match(text):
        return 1
    for size, (_, line) in enumerate(lines[place + 1 : place + _MOST_LINES], start=2):
        if line in row_starts:
            return 1
        text += "\n" + line.rstrip()
        if quoted := _QUOTED.match(text):
            return size if quoted.end() == len(text) else 1
    return 1


def _parted(text: str, separator: str) -> tuple[str, str, str]:
    """``text`` before, at and behind the first separator, which is not one inside the quotes of an item."""
    item = _QUOTED.match(text)
    if item and text[item.end() :].lstrip(" ").startswith(separator):
        return item[0], separator, text[item.end() :].lstrip(" ")[1:]
    return text.partition(separator)


def _unquoted(text: str) -> str:
    text = text.strip(" \t\r\n")  # not all white space: see clean_id
    return text[1:-1].replace('""', '"') if _QUOTED.fullmatch(text) else text


def read_likes_and_views(path: Path, bad: BadRows) -> ItemTable:
    """Read ``item<TAB>likes<TAB>views`` rows, with or without a header.

    A line without a tab is split at commas or spaces.

    Returns
    -------
    ItemTable
        Item id -> (likes, views), floats, None where the cell is empty.

    Raises
    ------
    MicroLensError
        The header names the columns in another order.
    """
    table = ItemTable()
    for place, (number, text) in enumerate(read_lines(path, bad)):
        cells = text.split("\t") if "\t" in text else re.split(r",|\s+", text.strip())
        if place == 0 and starts_with_item_name(cells[0], ","):
            _require_likes_first(path, cells)
            continue
        try:
            if len(cells) != 3:
                raise RowError(f"{len(cells)} columns instead of 3 (item, likes, views)")
            table.add(
                clean_id(_unquoted(cells[0]), "item"), (_count(cells[1], "likes"), _count(cells[2], "views"))
            )
        except RowError as error:
            bad.add(path, number, str(error), text)
    return table


def _require_likes_first(path: Path, header: list[str]) -> None:
    names = [header_cell(cell) for cell in header[1:]]
    if len(names) == 2 and "view" in names[0] and "like" in names[1]:
        raise MicroLensError(
            f"{path}, line 1: the header names views before likes; expected item, likes, views. Swap them."
        )


def _count(text: str, name: str) -> float | None:
    if not text.strip():
        return None
    number = parse_number(text, name)
    if number >= _EXACT:
        raise RowError(f"{name} {quoted(text.strip())} is too large to be a count")
    return number


@dataclass(frozen=True)
class ItemFiles:
    """What a release says of its items besides who watched them."""

    titles: ItemTable
    tags: ItemTable
    likes_and_views: ItemTable

    @classmethod
    def of(cls, release: Release, items: list[str], bad: BadRows) -> "ItemFiles":
        """Read the files that a release has; rows that cannot be read go to ``bad``."""
        return cls(
            titles=read_texts(release.titles, items, bad) if release.titles else ItemTable(),
            tags=read_texts(release.tags, items, bad) if release.tags else ItemTable(),
            likes_and_views=read_likes_and_views(release.likes_and_views, bad)
            if release.likes_and_views
            else ItemTable(),
        )

    def rows(self, items: list[str]) -> Iterator[tuple[str, str, str, float | None, float | None]]:
        """(item id, title, tag, likes, views) of each item."""
        for item in items:
            likes, views = self.likes_and_views.values.get(item, (None, None))
            yield item, self.titles.values.get(item, ""), self.tags.values.get(item, ""), likes, views
