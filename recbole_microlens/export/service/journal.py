"""The journal of new items: what was acknowledged is there however the process ends."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service.journal_frames import HEAD_BYTES, framed, frames
from recbole_microlens.files import naming, written_whole

FORMAT = 1
_LENGTH = struct.Struct("<I")
_NUMBER = np.dtype("<f4")


class JournalError(MicroLensError):
    """The journal cannot be written, so that nothing can be added."""


@dataclass(frozen=True)
class JournalItem:
    """A new item.

    Attributes
    ----------
    item_id, title : str
    embedding : np.ndarray [d], float32
    thumbnail : bytes
        A small JPEG; empty where there is none.
    """

    item_id: str
    title: str
    embedding: np.ndarray
    thumbnail: bytes = b""


class Journal:
    """An append-only file of new items, held by one process.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    run : dict[str, str]
        A fingerprint of the run that the items' embeddings belong to.
    dim : int
        Numbers of an embedding.

    Attributes
    ----------
    replayed : list of JournalItem
        What was in it when it was opened, without the thumbnails; the caller may clear it.

    Raises
    ------
    MicroLensError
        It is of another run, or damaged.
    """

    def __init__(self, path: Path, run: dict[str, str], dim: int):
        self.path = path
        self.replayed: list[JournalItem] = []
        self._dim = dim
        self._thumbnails: dict[str, tuple[int, int]] = {}
        self._is_broken = False
        if not path.exists():
            _create(path, {"format": FORMAT, "dim": dim, "run": run})
        with naming(path):
            self._file = path.open("r+b", buffering=1 << 20)
        self._end = self._replay(run)
        self._cut_torn_record()

    def __len__(self) -> int:
        return len(self._thumbnails)

    def append(self, item: JournalItem) -> None:
        """Write an item; it is on the disk when this returns.

        Raises
        ------
        JournalError
            It cannot be written, and is not there then.
        """
        if self._is_broken:
            raise JournalError(f"{self.path.name} could not be written before. Restart the service.")
        payload = _packed(item)
        frame, descriptor = framed(payload), self._file.fileno()
        try:
            _write_all(descriptor, frame, self._end)
            os.fsync(descriptor)
        except OSError as error:
            self._take_back()
            raise JournalError(
                f"{self.path.name} cannot be written ({error.strerror}). Look at the disk of the service."
            ) from error
        self._remember(item.item_id, self._end + HEAD_BYTES, len(payload), len(item.thumbnail))
        self._end += len(frame)

    def thumbnail(self, item_id: str) -> bytes | None:
        """The thumbnail of an item of the journal; ``None`` where there is none."""
        start, length = self._thumbnails.get(item_id, (0, 0))
        return os.pread(self._file.fileno(), length, start) if length else None

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _replay(self, run: dict[str, str]) -> int:
        end, is_first = 0, True
        for start, payload in frames(self._file, self.path):
            if is_first:
                self._require_of_run(payload, run)
                is_first = False
            else:
                self._take_up(start, payload)
            end = start + len(payload)
        if is_first:
            raise MicroLensError(f"{self.path} is no journal of this service. Choose another --state.")
        return end

    def _require_of_run(self, payload: bytes, run: dict[str, str]) -> None:
        about = _read_json(payload, self.path)
        if about.get("format") != FORMAT:
            raise MicroLensError(
                f"{self.path} has the format {about.get('format')}, this version reads {FORMAT}. Install the "
                "version that wrote it, or choose another --state."
            )
        if about.get("run") != run or about.get("dim") != self._dim:
            raise MicroLensError(
                f"{self.path} holds new items of another run: their embeddings mean nothing to this one. "
                "Serve that run, or choose another folder with --state."
            )

    def _take_up(self, start: int, payload: bytes) -> None:
        item = _unpacked(payload, self._dim, self.path)
        if item.item_id in self._thumbnails:
            raise MicroLensError(f"{self.path} holds {item.item_id!r} twice. Take it from a backup.")
        self._remember(item.item_id, start, len(payload), len(item.thumbnail))
        self.replayed.append(JournalItem(item.item_id, item.title, item.embedding))

    def _remember(self, item_id: str, start: int, length: int, thumbnail: int) -> None:
        self._thumbnails[item_id] = (start + length - thumbnail, thumbnail)

    def _cut_torn_record(self) -> None:
        descriptor = self._file.fileno()
        size = os.fstat(descriptor).st_size
        if size == self._end:
            return
        getLogger(__name__).warning(
            f"{self.path} ends in the middle of a record, which was never acknowledged: the last "
            f"{size - self._end:,} bytes are cut off"
        )
        with naming(self.path):
            os.ftruncate(descriptor, self._end)
            os.fsync(descriptor)

    def _take_back(self) -> None:
        """After a write that failed the file ends where it did; after that fails too nothing is written."""
        try:
            os.ftruncate(self._file.fileno(), self._end)
            os.fsync(self._file.fileno())
        except OSError as error:
            self._is_broken = True
            getLogger(__name__).error(f"{self.path} cannot be brought in order: {error}")


def _create(path: Path, about: dict) -> None:
    with written_whole(path, "wb") as file:
        file.write(framed(json.dumps(about).encode()))
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_all(descriptor: int, content: bytes, start: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written


def _packed(item: JournalItem) -> bytes:
    embedding = np.ascontiguousarray(item.embedding, dtype=_NUMBER)
    head = {
        "item_id": item.item_id,
        "title": item.title,
        "dim": len(embedding),
        "thumbnail": len(item.thumbnail),
    }
    text = json.dumps(head).encode()
    return _LENGTH.pack(len(text)) + text + embedding.tobytes() + item.thumbnail


def _unpacked(payload: bytes, dim: int, path: Path) -> JournalItem:
    (length,) = _LENGTH.unpack_from(payload.ljust(_LENGTH.size, b"\0"))
    start = _LENGTH.size + length
    head = _read_json(payload[_LENGTH.size : start], path)
    item_id, title, thumbnail = head.get("item_id"), head.get("title"), head.get("thumbnail")
    end = start + dim * _NUMBER.itemsize
    fits = head.get("dim") == dim and isinstance(thumbnail, int) and len(payload) == end + thumbnail
    if not fits or not isinstance(item_id, str) or not isinstance(title, str):
        raise _unreadable(path)
    embedding = np.frombuffer(payload[start:end], dtype=_NUMBER).astype(np.float32)
    if not np.isfinite(embedding).all():
        raise _unreadable(path)
    return JournalItem(item_id, title, embedding, payload[end:])


def _read_json(content: bytes, path: Path) -> dict:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable(path) from error
    if not isinstance(found, dict):
        raise _unreadable(path)
    return found


def _unreadable(path: Path) -> MicroLensError:
    return MicroLensError(
        f"{path} holds a record that this version cannot read. Install the version that wrote it, or choose "
        "another --state."
    )
