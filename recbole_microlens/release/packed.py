"""Opens a file, unpacked where its name says that it is packed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader, RawIOBase
from pathlib import Path

import pyarrow as pa

from recbole_microlens.errors import MicroLensError, first_line

_READ = 1 << 20


def open_bytes(path: Path) -> BufferedIOBase:
    """Open a file for reading, unpacked where its name ends in ``.gz`` or ``.zst``."""
    suffix = path.suffix.lower()
    if suffix == ".zst":
        return BufferedReader(_Unpacked(path), _READ)
    return gzip.open(path, "rb") if suffix == ".gz" else path.open("rb")


def is_packed(path: Path) -> bool:
    """Whether the file's name says that it is packed."""
    return path.suffix.lower() in (".gz", ".zst")


def skip(stream: BufferedIOBase, path: Path, count: int) -> None:
    """Go to byte ``count`` of an unpacked file that has just been opened."""
    if not is_packed(path):
        stream.seek(count)
        return
    while count > 0 and (read := stream.read(min(count, _READ))):
        count -= len(read)


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Say it in words where a packed file turns out to be damaged."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is not None or path.suffix.lower() != ".zst":
            raise
        raise _damaged(path, error) from error  # pyarrow's, of a stream that is none or ends too early


def _damaged(path: Path, error: Exception) -> MicroLensError:
    return MicroLensError(f"{path}: cannot be unpacked ({first_line(error)}). Copy the file again.")


class _Unpacked(RawIOBase):
    """A stream of a file that is packed with Zstandard."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self._stream = pa.CompressedInputStream(pa.PythonFile(self._file, "r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        read = self._stream.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)

    def close(self) -> None:
        self._stream.close()
        self._file.close()
        super().close()
