"""Several files read as one, and the parts of a zip that is split over them (``.z01``, ..., ``.zip``)."""

from __future__ import annotations

import bisect
import io
import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

from recbole_microlens.errors import MicroLensError

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _END64_BYTES, _LOCATOR64_BYTES = 22, 56, 20
_LONGEST_COMMENT = 0xFFFF


class JoinedParts(io.RawIOBase):
    """The bytes of several files, one behind the other, for reading.

    Parameters
    ----------
    paths : Sequence[Path]
        The files in order; one is open at a time.
    patches : Mapping[int, bytes], optional
        Bytes that are read in the place of those at some positions.

    Attributes
    ----------
    starts : list[int]
        The position of the first byte of each file.
    size : int
        Bytes of all.
    """

    def __init__(self, paths: Sequence[Path], patches: Mapping[int, bytes] | None = None):
        super().__init__()
        self.paths = list(paths)
        ends = list(accumulate(path.stat().st_size for path in self.paths))
        self.starts = [0, *ends[:-1]]
        self.size = ends[-1]
        self._patches = dict(patches or {})
        self._at = 0
        self._stream: io.FileIO | None = None
        self._number = -1

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise EOFError("a place before its start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer) -> int:
        if self._at >= self.size:
            return 0
        number = bisect.bisect_right(self.starts, self._at) - 1
        view = memoryview(buffer).cast("B")
        stream = self._opened(number)
        stream.seek(self._at - self.starts[number])
        count = stream.readinto(view) or 0
        for position, patch in self._patches.items():
            _lay_over(view[:count], self._at, position, patch)
        self._at += count
        return count

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()

    def _opened(self, number: int) -> io.FileIO:
        if self._number != number or self._stream is None:
            if self._stream is not None:
                self._stream.close()
            self._stream, self._number = io.FileIO(self.paths[number]), number
        return self._stream


def _lay_over(view: memoryview, at: int, position: int, patch: bytes) -> None:
    first, last = max(at, position), min(at + len(view), position + len(patch))
    if first < last:
        view[first - at : last - at] = patch[first - position : last - position]


def joined_zip(paths: Sequence[Path]) -> tuple[JoinedParts, list[int] | None]:
    """The parts of a zip as one file that ``zipfile`` opens.

    A zip that was cut into pieces is whole again when they are joined. One that was *written* in pieces
    counts the places of its members from the start of the part that each lies in (APPNOTE 4.4.13, 4.4.16),
    and says so in its end record; ``zipfile`` refuses its zip64 form, of which the end is therefore read as
    that of one piece.

    Returns
    -------
    tuple[JoinedParts, list[int] | None]
        The file, and for a zip written in pieces what to add to a member's place, by the number of its part;
        None for any other.

    Raises
    ------
    MicroLensError
        A part is missing, or the last one has no end record.
    """
    plain = JoinedParts(paths)
    plain.seek(max(0, plain.size - _END_BYTES - _LONGEST_COMMENT - _LOCATOR64_BYTES - _END64_BYTES))
    tail_at, tail = plain.tell(), io.BufferedReader(plain, 1 << 17).read()
    found = tail.rfind(_END)
    if found < 0 or len(tail) < found + _END_BYTES:
        raise MicroLensError(
            f"{paths[-1]} is not the end of a zip: damaged, or not the last part. Remove it and run the "
            "command again."
        )
    this_disk, directory_disk = struct.unpack_from("<HH", tail, found + 4)
    locator = found - _LOCATOR64_BYTES
    end64 = locator - _END64_BYTES
    has_64 = end64 >= 0 and tail.startswith(_LOCATOR64, locator) and tail.startswith(_END64, end64)
    if has_64:
        this_disk, directory_disk = struct.unpack_from("<II", tail, end64 + 16)
    parts = JoinedParts(paths)
    if this_disk == 0:
        return parts, None
    if this_disk != len(paths) - 1 or directory_disk > this_disk:
        raise MicroLensError(
            f"{paths[-1]} says that the zip has {this_disk + 1:,} parts, here are {len(paths):,}. Get the "
            "missing ones, or correct 'parts' in a manifest of your own."
        )
    if not has_64:  # zipfile adds the start of the directory's part to every place by itself
        return parts, [start - parts.starts[directory_disk] for start in parts.starts]
    (directory_bytes,) = struct.unpack_from("<Q", tail, end64 + 40)
    end64_at = tail_at + end64
    patches = {
        end64_at + 48: struct.pack("<Q", max(0, end64_at - directory_bytes)),
        tail_at + locator + 4: struct.pack("<IQI", 0, end64_at, 1),
    }
    return JoinedParts(paths, patches), parts.starts
