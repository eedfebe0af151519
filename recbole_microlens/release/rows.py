"""The lines of a release file, and the rows among them that cannot be read."""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import writing
from recbole_microlens.release.packed import open_bytes, unpacking

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LONGEST_LINE = 1 << 28
"""Bytes of a line; a longer one is not a table, and would fill the memory."""

LONGEST_FIELD = 131_072
"""Characters of a field that Python's csv module, and so RecBole, reads."""

_SHOWN = 60
_UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class RowError(ValueError):
    """A row cannot be read; the text is the reason. Never leaves this package: see :class:`BadRows`."""


@dataclass(frozen=True)
class BadRow:
    """A row that was left out: its file, its line (from 1, the header counts), the reason and the text."""

    HEADER: ClassVar = ("file", "line", "reason", "text")

    file: Path
    line: int
    reason: str
    text: str

    def cells(self) -> tuple[str, int, str, str]:
        """As a row of the table that lists them."""
        return self.file.name, self.line, self.reason, self.text


@dataclass
class BadRows:
    """Takes the rows that cannot be read: raises at the first one, or keeps them where ``skip`` is set."""

    skip: bool = False
    rows: list[BadRow] = field(default_factory=list)

    def add(self, file: Path, line: int, reason: str, text: str) -> None:
        """Keep the row, or raise :class:`MicroLensError` with its file, line and reason."""
        if not self.skip:
            raise MicroLensError(
                f"{file}, line {line}: {reason}: {quoted(text, 100)}. Correct the row, or leave such rows "
                "out with --skip-bad-rows."
            )
        self._keep(BadRow(file, line, reason, text))

    def add_all(self, file: Path, rows: Iterable[tuple[int, str, str]]) -> None:
        """Add rows as (line, reason, text)."""
        for line, reason, text in rows:
            self.add(file, line, reason, text)

    def __len__(self) -> int:
        return len(self.rows)

    def _keep(self, row: BadRow) -> None:
        self.rows.append(row)

    def write(self, path: Path) -> None:
        """Write the rows as a tab-separated table with the header ``file line reason text``."""
        with writing(path) as stream:
            table = csv.writer(stream, delimiter="\t", lineterminator="\n")
            table.writerow(BadRow.HEADER)
            table.writerows(row.cells() for row in self.rows)


def read_lines(path: Path, bad: BadRows) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of a UTF-8 file, without the line end, a BOM, or blank lines.

    A line that is not UTF-8 goes to ``bad``.

    Raises
    ------
    MicroLensError
        The file cannot be unpacked, is UTF-16, or has a line of more than :data:`LONGEST_LINE` bytes.
    """
    for number, raw in enumerate(_raw_lines(path), start=1):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"not UTF-8 ({error.reason} at byte {error.start} of the line)"
            bad.add(path, number, reason, raw.decode("utf-8", errors="backslashreplace"))
            continue
        if text.strip():
            yield number, text


def first_line(path: Path) -> str:
    """Return the first line that is not blank, "" if there is none; bytes that are not UTF-8 are replaced."""
    texts = (raw.decode("utf-8", errors="replace") for raw in _raw_lines(path))
    return next((text for text in texts if text.strip()), "")


def quoted(text: str, most: int = _SHOWN) -> str:
    """``text`` in quotes for a message, at most ``most`` characters of it."""
    return repr(text if len(text) <= most else text[:most] + "...")


def _raw_lines(path: Path) -> Iterator[bytes]:
    with unpacking(path), open_bytes(path) as stream:
        first = _require_length(path, stream.readline(LONGEST_LINE))
        if first.startswith(_UTF16_BOMS):
            raise MicroLensError(f"{path} is UTF-16. Save it as UTF-8.")
        first = first.removeprefix(codecs.BOM_UTF8)
        # Without a line feed in the whole file, carriage returns alone may end its lines.
        yield from first.split(b"\r") if not first.endswith(b"\n") else [_without_end(first)]
        for line in iter(partial(stream.readline, LONGEST_LINE), b""):
            yield _without_end(_require_length(path, line))


def _require_length(path: Path, line: bytes) -> bytes:
    if len(line) == LONGEST_LINE:
        raise too_long_line(path, line)
    return line


def too_long_line(path: Path, line: bytes) -> MicroLensError:
    """The error of a line that is longer than :data:`LONGEST_LINE`."""
    return MicroLensError(
        f"{path} has a line of more than {LONGEST_LINE:,} bytes, which begins with "
        f"{quoted(line[:100].decode(errors='replace'))}. Give a table of text, a line for each row."
    )


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def parse_number(text: str, name: str) -> float:
    """Return a finite number that is not negative; raises :class:`RowError` with ``name`` in the reason."""
    text = text.strip()
    if not NUMBER.fullmatch(text):
        raise RowError(f"{name} {quoted(text)} is not a number")
    number = float(text)
    if number < 0:
        raise RowError(f"{name} {quoted(text)} is negative")
    if number == float("inf"):
        raise RowError(f"{name} {quoted(text)} is not finite")
    return number
