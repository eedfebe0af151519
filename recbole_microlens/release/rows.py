"""The lines of a release file, and the rows among them that cannot be read."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import writing

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UTF8_BOM = b"\xef\xbb\xbf"


class RowError(ValueError):
    """A row cannot be read; the text is the reason. Never leaves this package: see :class:`BadRows`."""


@dataclass(frozen=True)
class BadRow:
    """A row that was left out: its file, its line (from 1, the header counts), the reason and the text."""

    file: Path
    line: int
    reason: str
    text: str


@dataclass
class BadRows:
    """Takes the rows that cannot be read: raises at the first one, or keeps them where ``skip`` is set."""

    skip: bool = False
    rows: list[BadRow] = field(default_factory=list)

    def add(self, file: Path, line: int, reason: str, text: str) -> None:
        """Keep the row, or raise :class:`MicroLensError` with its file, line and reason."""
        if not self.skip:
            shown = text if len(text) <= 100 else text[:100] + "..."
            raise MicroLensError(
                f"{file}, line {line}: {reason}: {shown!r}. Correct the row, or leave such rows out with "
                "--skip-bad-rows."
            )
        self.rows.append(BadRow(file, line, reason, text))

    def write(self, path: Path) -> None:
        """Write the rows as a tab-separated table with the header ``file line reason text``."""
        with writing(path) as stream:
            table = csv.writer(stream, delimiter="\t", lineterminator="\n")
            table.writerow(["file", "line", "reason", "text"])
            table.writerows([row.file.name, row.line, row.reason, row.text] for row in self.rows)


def read_lines(path: Path, bad: BadRows) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text) of a UTF-8 file, without the line end, a BOM, or blank lines.

    A line that is not UTF-8 goes to ``bad``.
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


def _raw_lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            first = stream.readline().removeprefix(_UTF8_BOM)
            # Without a line feed in the whole file, carriage returns alone may end its lines.
            yield from first.split(b"\r") if not first.endswith(b"\n") else [_without_end(first)]
            for line in stream:
                yield _without_end(line)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise MicroLensError(f"{path}: cannot be unpacked ({error}). Copy the file again.") from error


def _without_end(line: bytes) -> bytes:
    return line.removesuffix(b"\n").removesuffix(b"\r")


def parse_number(text: str, name: str) -> float:
    """Return a finite number that is not negative; raises :class:`RowError` with ``name`` in the reason."""
    text = text.strip()
    if not NUMBER.fullmatch(text):
        raise RowError(f"{name} {text!r} is not a number")
    number = float(text)
    if number < 0:
        raise RowError(f"{name} {text!r} is negative")
    if number == float("inf"):
        raise RowError(f"{name} {text!r} is not finite")
    return number
