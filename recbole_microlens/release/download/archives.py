"""The members of a zip or a tar, in one part or many; what is unsafe among them is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from recbole_microlens.errors import MicroLensError, first_line, printable
from recbole_microlens.release.download.names import is_safe
from recbole_microlens.release.download.parts import JoinedParts, joined_zip

MOST_MEMBERS = 5_000_000
_LOCAL_HEADER_BYTES = 30
_FIELDS = (
    "compress_type",
    "compress_size",
    "file_size",
    "CRC",
    "flag_bits",
    "external_attr",
    "header_offset",
)
_MOST_AT_ONCE = 1 << 26  # bytes of one read of a tar; its headers and ours are smaller
_BUFFER = 1 << 20
# What a file manager adds.
_JUNK_FOLDERS, _JUNK_NAMES = ("__MACOSX",), (".DS_Store", "Thumbs.db", "desktop.ini")
_OPENERS: dict[tuple[str, ...], Callable[[Any], Any]] = {
    (".tar",): lambda stream: stream,
    (".tar.gz", ".tgz"): lambda stream: gzip.GzipFile(fileobj=stream),
    (".tar.bz2", ".tbz2"): bz2.BZ2File,
    (".tar.xz", ".txz"): lzma.LZMAFile,
}
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, OverflowError,
    NotImplementedError, UnicodeDecodeError,
)  # fmt: skip
"""What the libraries say of archives that are damaged, or of a kind that they do not know."""


@dataclass(frozen=True)
class Member:
    """A file of an archive: its path below the archive's top, its bytes' number, and how they are read."""

    name: str
    size: int
    open: Callable[[], IO[bytes]]


@contextmanager
def opened_archive(name: str, parts: Sequence[Path]) -> Iterator[tuple[Iterator[Member], int | None]]:
    """The members of an archive in the order in which they lie there, and the bytes of all if it lists them.

    Parameters
    ----------
    name : str
        Of the archive; its suffix says what it is: ``.zip``, ``.tar``, ``.tar.gz``, ``.tar.bz2``,
        ``.tar.xz``.
    parts : Sequence[Path]
        Its parts in order.

    Raises
    ------
    MicroLensError
        It is of another kind, damaged, encrypted, has too many members, or one whose path leads elsewhere,
        that is a link or a device, that is there twice, or that shares its bytes with another one.
    """
    with _explained(name, parts):
        if name.lower().endswith(".zip"):
            stream, shifts = joined_zip(parts)
            with stream, zipfile.ZipFile(io.BufferedReader(stream, _BUFFER)) as archive:
                found = _zip_members(archive, shifts)
                yield iter(found), sum(member.size for member in found)
            return
        for suffixes, opener in _OPENERS.items():
            if name.lower().endswith(suffixes):
                with JoinedParts(parts) as stream, opener(io.BufferedReader(stream, _BUFFER)) as unpacked:
                    bounded = _Bounded(unpacked)
                    with tarfile.open(fileobj=bounded, mode="r:") as archive:  # type: ignore[call-overload]
                        yield _tar_members(archive), None
                return
    raise MicroLensError(
        f"{name}: archives end in .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz. Unpack it by hand."
    )


@contextmanager
def _explained(name: str, parts: Sequence[Path]) -> Iterator[None]:
    try:
        yield
    except MicroLensError:
        raise
    except OSError as error:  # gzip's and bz2's have no number: the system's have
        if error.errno is not None and not isinstance(error, gzip.BadGzipFile):
            raise
        raise MicroLensError(_damaged(name, parts, error)) from error
    except _DAMAGED as error:
        raise MicroLensError(_damaged(name, parts, error)) from error


def _damaged(name: str, parts: Sequence[Path], error: Exception) -> str:
    which = parts[0] if len(parts) == 1 else f"its {len(parts)} parts in {parts[0].parent}"
    return f"{name} cannot be unpacked ({first_line(error)}). Remove {which} and run the command again."


def _zip_members(archive: zipfile.ZipFile, shifts: list[int] | None) -> list[Member]:
    infos = archive.infolist()
    if len(infos) > MOST_MEMBERS:
        raise MicroLensError(f"{_of(archive)} has more than {MOST_MEMBERS:,} files, which are not unpacked.")
    placed = [_placed(info, shifts) for info in infos]
    _require_apart(placed)
    found: dict[str, Member] = {}
    for info in placed:
        name = _checked(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise MicroLensError(
                f"the archive holds a link or a device, {printable(info.filename)}: it is not unpacked."
            )
        if name is None or info.filename.endswith("/"):
            continue
        if info.flag_bits & 1:
            raise MicroLensError(f"{name} in the archive is encrypted. Unpack it by hand, with its password.")
        _require_new(name, found)
        found[name] = Member(name, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]
    return list(found.values())


def _of(archive: zipfile.ZipFile) -> str:
    return printable(archive.filename or "the archive")


def _placed(info: zipfile.ZipInfo, shifts: list[int] | None) -> zipfile.ZipInfo:
    """A member with its place in the joined file."""
    placed = zipfile.ZipInfo(info.orig_filename)
    placed.filename = info.filename
    for field in _FIELDS:
        setattr(placed, field, getattr(info, field))
    if shifts is not None:
        if info.volume >= len(shifts):
            raise MicroLensError(f"{printable(info.filename)} lies in a part of the zip that is not here.")
        placed.header_offset += shifts[info.volume]
    return placed


def _require_apart(infos: list[zipfile.ZipInfo]) -> None:
    """Members that share their bytes unpack to more than any zip can hold."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise MicroLensError(
                f"the archive holds files that overlap ({printable(info.filename)}): it is not unpacked."
            )
        end = info.header_offset + _LOCAL_HEADER_BYTES + info.compress_size


def _tar_members(archive: tarfile.TarFile) -> Iterator[Member]:
    seen: set[str] = set()
    for info in archive:
        name = _checked(info.name)
        if info.isdir() or name is None:
            continue
        if not info.isreg() or info.issparse():
            raise MicroLensError(
                f"the archive holds a link or a device, {printable(info.name)}: it is not unpacked."
            )
        _require_new(name, seen)
        seen.add(name)
        if len(seen) > MOST_MEMBERS:
            raise MicroLensError(f"the archive has more than {MOST_MEMBERS:,} files, which are not unpacked.")
        yield Member(name, info.size, lambda info=info: archive.extractfile(info))  # type: ignore[misc,arg-type]
        archive.members = []  # type: ignore[attr-defined]  # it keeps all headers otherwise


def _checked(name: str) -> str | None:
    """The path of a member; None for what a file manager has added."""
    path = name.removeprefix("./").rstrip("/")
    parts = path.split("/")
    if not path or path == "." or parts[0] in _JUNK_FOLDERS or parts[-1] in _JUNK_NAMES:
        return None
    if not is_safe(path):
        raise MicroLensError(
            f"the archive holds {printable(name)!r}, which does not lead to a place below its folder: it is "
            "not unpacked."
        )
    return path


def _require_new(name: str, seen) -> None:
    if name in seen:
        raise MicroLensError(f"the archive holds {name} twice: it is not unpacked.")


class _Bounded:
    """A stream that is read in bounded pieces: a tar's header may ask for any number of bytes."""

    def __init__(self, stream: IO[bytes]):
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._stream.read(size)
