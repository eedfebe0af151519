"""Tables of columns for a terminal of 80 columns; what does not fit continues in a table below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

WIDTH = 80
_GAP = 2


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    header : str
        Lines apart.
    cells : list[str]
        One for each row, lines apart.
    is_text : bool
        Text begins on the left, numbers end on the right.
    """

    header: str
    cells: list[str]
    is_text: bool = False

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.header, *self.cells) for line in text.split("\n"))


def blocks(keys: list[Column], columns: list[Column]) -> list[str]:
    """Tables one below the other, none wider than 80 characters, each with the key columns and some of the
    others.
    """
    found = [[*keys, columns[0]]]
    for column in columns[1:]:
        if _width([*found[-1], column]) > WIDTH:
            found.append([*keys])
        found[-1].append(column)
    return [table(block) for block in found]


def table(columns: list[Column]) -> str:
    """The columns side by side; headers stand at the bottom, cells at the top of their row."""
    height = max(column.header.count("\n") for column in columns)
    headers = ["\n" * (height - column.header.count("\n")) + column.header for column in columns]
    rules = ["-" * column.width for column in columns]
    rows = [headers, rules, *zip(*(column.cells for column in columns), strict=True)]
    return "\n".join(line for row in rows for line in _lines(row, columns))


def number(value: float | None, digits: int = 4) -> str:
    """A cell for a number that may not be known."""
    return "-" if value is None else f"{value:.{digits}f}"


def _width(columns: list[Column]) -> int:
    return sum(column.width + _GAP for column in columns) - _GAP


def _lines(row: Sequence[str], columns: list[Column]) -> list[str]:
    parts = zip_longest(*(cell.split("\n") for cell in row), fillvalue="")
    return [(" " * _GAP).join(map(_aligned, line, columns)).rstrip() for line in parts]


def _aligned(text: str, column: Column) -> str:
    return text.ljust(column.width) if column.is_text else text.rjust(column.width)
