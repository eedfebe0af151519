"""The media store: one LMDB file per modality, an item's id to its frames as JPEG, or to windows of sound.

Key: the item's original id, UTF-8. Value: frames or windows behind a small header (``packed_parts``). The
record ``__meta__`` is JSON (``StoreMeta``). Nothing is pickled, so opening a store runs no code of whoever
made it.
"""

import dataclasses
import heapq
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import lmdb
import numpy as np
import simplejpeg
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import environments, shards
from recbole_microlens.media.packed_parts import joined, parts_of
from recbole_microlens.media.sound_values import decode_sound
from recbole_microlens.media.store_kinds import command_of
from recbole_microlens.media.store_meta import META_KEY, REBUILD, StoreMeta

Wanted = slice | Sequence[int]
_CHROMA = "420"  # what the videos are stored in already; 4:4:4 costs 30 % more bytes and adds nothing to them


def encode_value(frames: np.ndarray, quality: int = 90) -> bytes:
    """Pack uint8 RGB frames [n, size, size, 3] into the value of one item."""
    jpegs = [
        simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, "RGB", colorsubsampling=_CHROMA)
        for frame in frames
    ]
    return joined(jpegs)


def decode_value(
    value: bytes | memoryview, size: int | None = None, frames: Wanted = slice(None), largest: int = 4096
) -> np.ndarray:
    """Unpack the value of one item to uint8 RGB [n, size, size, 3]; ``size`` None means as it was stored.

    ``frames`` are those to decode, by their numbers or as a slice. Raises ``ValueError`` where the value is
    malformed, or holds more pixels than ``largest * largest``.
    """
    jpegs = parts_of(memoryview(value))
    numbers = range(len(jpegs))[frames] if isinstance(frames, slice) else frames
    if max(numbers, default=0) >= len(jpegs):
        raise ValueError(f"{len(jpegs)} frames, number {max(numbers)} is asked for")
    return np.stack([_decode_jpeg(jpegs[number], size, largest) for number in numbers])


def _decode_jpeg(jpeg: memoryview, size: int | None, largest: int) -> np.ndarray:
    # Into memory of this size: what a JPEG says of its own size is not believed.
    buffer = np.empty(largest * largest * 3, dtype=np.uint8)
    if size is None:
        return simplejpeg.decode_jpeg(jpeg, "RGB", buffer=buffer)
    frame = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=size, min_width=size, buffer=buffer)
    if frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))


class MediaStore:
    """Read frames or sound by item id; any number of processes and threads may read one, forked or spawned.

    Pickling gives the paths only: every process opens the files itself, when it first reads.

    Parameters
    ----------
    path : str | Path
        ``video.lmdb``, ``cover.lmdb`` or ``audio.lmdb`` of a dataset folder; where that file is not there,
        but a folder of its shards, these are read as one store. Raises ``MicroLensError`` where it is
        missing, unfinished, damaged or something else, and says which command builds it.

    Attributes
    ----------
    files : tuple[Path, ...]
        The one file, or all shards in their order.
    meta : StoreMeta
        Of the store as a whole.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.files = shards.files_of(self.path)
        self._opened: dict[Path, lmdb.Environment] = {}
        self._pid = os.getpid()
        self.metas = [self._read_meta(file) for file in self.files]
        self.meta = self.metas[0] if self.files == (self.path,) else self._meta_of_shards()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_opened": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)

    def __len__(self) -> int:
        return self.meta.count

    def __contains__(self, item_id: str) -> bool:
        return self._get(item_id, lambda value: True) is True

    def __iter__(self) -> Iterator[str]:
        """The ids of all items in the store, in the order of their bytes."""
        with environments.reading(self.path):
            found = heapq.merge(*(self._keys(file) for file in self.files))
        try:
            return iter([key.decode() for key in found if key != META_KEY])
        except UnicodeDecodeError as error:
            raise MicroLensError(
                f"{self.path}: holds a key that is not an id ({error}). {REBUILD}"
            ) from error

    def read(self, item_id: str, size: int | None = None, frames: Wanted = slice(None)) -> np.ndarray | None:
        """Frames of an item, uint8 RGB [n, size, size, 3], or None where the store has none for it.

        ``size`` defaults to that of the store; another one is resized to, cheaply when it is smaller.
        ``frames`` are those to decode, all by default. Raises ``MicroLensError`` where the stored value is
        damaged.
        """
        return self._decoded(item_id, lambda value: decode_value(value, size, frames, self.meta.size))

    def read_sound(self, item_id: str) -> list[np.ndarray] | None:
        """Windows of an item, each int16 of at most ``meta.window_samples``, or None where the store has none
        for it. Raises ``MicroLensError`` where the stored value is damaged.
        """
        return self._decoded(item_id, lambda value: decode_sound(value, self.meta))

    def environments(self) -> list[lmdb.Environment]:
        """The open files, in the order of ``files``."""
        return [self._environment(file) for file in self.files]

    def _decoded(self, item_id: str, decode):
        try:
            return self._get(item_id, decode)
        except (ValueError, lmdb.Error) as error:
            raise MicroLensError(
                f"{self.path}: the value of item {item_id!r} is damaged ({error}). {REBUILD}"
            ) from error

    def _get(self, item_id, use):
        key = item_id.encode()
        if key == META_KEY or not 0 < len(key) <= environments.MAX_KEY_BYTES:
            return None
        file = self.files[shards.number_of(key, len(self.files)) - 1]
        with environments.reading(file), self._environment(file).begin(buffers=True) as txn:
            value = txn.get(key)
            return None if value is None else use(value)

    def _keys(self, file: Path) -> list[bytes]:
        with self._environment(file).begin() as txn:
            return [bytes(key) for key in txn.cursor().iternext(values=False)]

    def _environment(self, file: Path) -> lmdb.Environment:
        opened = self._opened if self._pid == os.getpid() else {}
        if file not in opened:
            opened[file] = environments.open_for_reading(file, self._build_command())
        self._opened, self._pid = opened, os.getpid()  # those of a parent are let go once they are closed
        return opened[file]

    def _read_meta(self, file: Path) -> StoreMeta:
        with environments.reading(file), self._environment(file).begin() as txn:
            record = txn.get(META_KEY)
        if record is None:
            raise MicroLensError(f"{file}: an LMDB, but not a media store. {self._build_command()}")
        meta = StoreMeta.from_json(record, file)
        if not meta.complete:
            raise MicroLensError(f"{file}: an unfinished build. {self._build_command()}")
        return meta

    def _meta_of_shards(self) -> StoreMeta:
        shards.require_alike(self.path, self.metas)
        with environments.reading(self.path):
            identity = shards.identity_of(self.path, self.metas, self.environments)
        return dataclasses.replace(
            self.metas[0], count=sum(meta.count for meta in self.metas), identity=identity
        )

    def _build_command(self) -> str:
        command = command_of(self.path.name)
        return f"Build it with: recbole-microlens {command} RELEASE_FOLDER --dataset NAME"
