"""A text table in blocks of whole lines, from its start or from where an earlier reading stopped."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release import rows
from recbole_microlens.release.packed import open_bytes, skip, unpacking

BLOCK = 32 << 20
"""Bytes of a block."""


@dataclass(frozen=True)
class Block:
    """Whole lines of a table.

    Attributes
    ----------
    data : bytes
        The lines, each with its end, but for the last of the file.
    line : int
        The number of the first line, from 1.
    end : int
        Bytes of the unpacked file up to the end of the block.
    next_line : int
        The number of the line behind the block.
    """

    data: bytes
    line: int
    end: int
    next_line: int

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(number, bytes) of each line, without its end."""
        pieces = self.data.split(b"\n")
        if not pieces[-1]:
            pieces.pop()
        for number, piece in enumerate(pieces, self.line):
            yield number, piece.removesuffix(b"\r")


def read_blocks(path: Path, size: int = BLOCK, start: int = 0, line: int = 1) -> Iterator[Block]:
    """The blocks of a UTF-8 file, without a byte order mark, unpacked where its name says so.

    Where a file has no line feed at all, carriage returns end its lines.

    Parameters
    ----------
    path : Path
        The file.
    size : int, default BLOCK
        Bytes of a block, about.
    start, line : int
        ``end`` and ``next_line`` of the last block that has been read.

    Raises
    ------
    MicroLensError
        The file cannot be unpacked, is UTF-16, or has a line of more than
        :data:`~recbole_microlens.release.rows.LONGEST_LINE` bytes.
    """
    with unpacking(path), open_bytes(path) as stream:
        skip(stream, path, start)
        position, rest = start, b""
        while True:
            read = stream.read(size)
            data = rest + read
            if position == 0 and line == 1 and not rest:
                _require_utf8(path, data)
            cut = data.rfind(b"\n") + 1 if read else len(data)
            if cut == 0 and read:
                _require_length(path, data)
                rest = data
                continue
            whole, rest = data[:cut], data[cut:]
            if not whole:
                return
            _require_lengths(path, whole, rest)
            is_first = position == 0
            position += len(whole)
            lines = whole.removeprefix(codecs.BOM_UTF8) if is_first else whole
            if is_first and b"\n" not in lines:
                lines = lines.replace(b"\r", b"\n")
            next_line = line + lines.count(b"\n")
            yield Block(lines, line, position, next_line)
            line = next_line


def _require_utf8(path: Path, data: bytes) -> None:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise MicroLensError(f"{path} is UTF-16. Save it as UTF-8.")


def _require_lengths(path: Path, whole: bytes, rest: bytes) -> None:
    """Look at the lines of a block only where one of them can be too long."""
    if len(whole) >= rows.LONGEST_LINE:
        for one in whole.split(b"\n"):
            _require_length(path, one)
    _require_length(path, rest)


def _require_length(path: Path, line: bytes) -> None:
    if len(line) >= rows.LONGEST_LINE:
        raise rows.too_long_line(path, line)
