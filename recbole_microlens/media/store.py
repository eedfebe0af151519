"""The media store: one LMDB file per modality, an item's id to its frames as JPEG.

Key: the item's original id, UTF-8. Value: ``b"RMLF"``, version, number of frames, the length of each JPEG,
the JPEGs. The record ``__meta__`` is JSON (``StoreMeta``). Nothing is pickled, so opening a store runs no
code of whoever made it.
"""

import dataclasses
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import simplejpeg
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import environments

FORMAT_VERSION = 1
LIMITS = {"num_frames": (1, 1000), "interval": (1, 1_000_000), "size": (1, 4096), "quality": (1, 100)}
META_KEY = b"__meta__"
_MAGIC = b"RMLF"
_HEADER = struct.Struct("<4sHH")  # magic, version, number of frames
_CHROMA = "420"  # what the videos are stored in already; 4:4:4 costs 30 % more bytes and adds nothing to them


@dataclasses.dataclass(frozen=True)
class StoreMeta:
    """What a store says of itself: how it was built, how many items it holds, whether it is finished.

    ``identity`` is a hash of everything stored: equal stores have equal identities, and a store that is
    rebuilt with other content has another one.
    """

    modality: str
    num_frames: int
    size: int
    interval: int
    quality: int
    source: str
    count: int = 0
    complete: bool = False
    identity: str = ""
    format_version: int = FORMAT_VERSION

    def to_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, record: bytes, store: Path) -> "StoreMeta":
        """Parse the ``__meta__`` record of a store; raises ``MicroLensError`` where it is not one of ours."""
        try:
            fields = json.loads(bytes(record))
            if fields["format_version"] != FORMAT_VERSION:
                raise MicroLensError(
                    f"{store}: format version {fields['format_version']}, wanted {FORMAT_VERSION}. "
                    + _REBUILD
                )
            meta = cls(**fields)
            wrong = [f.name for f in dataclasses.fields(cls) if type(getattr(meta, f.name)) is not f.type]
            odd = [] if wrong else _out_of_range(meta)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise MicroLensError(
                f"{store}: its __meta__ record is malformed ({error}). {_REBUILD}"
            ) from error
        if wrong:
            raise MicroLensError(
                f"{store}: wrong type of {', '.join(wrong)} in its __meta__ record. {_REBUILD}"
            )
        if odd:
            raise MicroLensError(f"{store}: {', '.join(odd)} out of range in its __meta__ record. {_REBUILD}")
        return meta


def _out_of_range(meta: StoreMeta) -> list[str]:
    odd = [name for name, (low, high) in LIMITS.items() if not low <= getattr(meta, name) <= high]
    return odd + ["modality"] * (meta.modality not in ("video", "image"))


_REBUILD = "Build the store again with --overwrite."


def encode_value(frames: np.ndarray, quality: int = 90) -> bytes:
    """Pack uint8 RGB frames [n, size, size, 3] into the value of one item."""
    jpegs = [
        simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality, "RGB", colorsubsampling=_CHROMA)
        for frame in frames
    ]
    lengths = struct.pack(f"<{len(jpegs)}I", *map(len, jpegs))
    return _HEADER.pack(_MAGIC, FORMAT_VERSION, len(jpegs)) + lengths + b"".join(jpegs)


def decode_value(
    value: bytes | memoryview, size: int | None = None, frames: slice = slice(None), largest: int = 4096
) -> np.ndarray:
    """Unpack the value of one item to uint8 RGB [n, size, size, 3]; ``size`` None means as it was stored.

    ``frames`` are those to decode. Raises ``ValueError`` where the value is malformed, or holds more pixels
    than ``largest * largest``.
    """
    jpegs = _split_value(memoryview(value))[frames]
    return np.stack([_decode_jpeg(jpeg, size, largest) for jpeg in jpegs])


def _split_value(value: memoryview) -> list[memoryview]:
    if len(value) < _HEADER.size:
        raise ValueError("shorter than its header")
    magic, version, num_frames = _HEADER.unpack_from(value)
    if (magic, version) != (_MAGIC, FORMAT_VERSION) or not num_frames:
        raise ValueError("not a value of this format")
    start = _HEADER.size + 4 * num_frames
    if len(value) < start:
        raise ValueError("shorter than its header")
    lengths = struct.unpack_from(f"<{num_frames}I", value, _HEADER.size)
    if start + sum(lengths) != len(value):
        raise ValueError(f"{len(value)} bytes, its header says {start + sum(lengths)}")
    jpegs = []
    for length in lengths:
        jpegs.append(value[start : start + length])
        start += length
    return jpegs


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
    """Read frames by item id; any number of processes and threads may read one store, forked or spawned.

    Pickling gives the path only: every process opens the file itself, when it first reads.

    Parameters
    ----------
    path : str | Path
        ``video.lmdb`` or ``cover.lmdb`` of a dataset folder. Raises ``MicroLensError`` where it is missing,
        unfinished, damaged or something else, and says which command builds it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.meta = self._read_meta()

    def __getstate__(self) -> dict:
        return {"path": self.path, "meta": self.meta}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)

    def __len__(self) -> int:
        return self.meta.count

    def __contains__(self, item_id: str) -> bool:
        return self._get(item_id, lambda value: True) is True

    def __iter__(self) -> Iterator[str]:
        """The ids of all items in the store, in the order of their bytes."""
        with environments.reading(self.path), self._environment().begin() as txn:
            keys = [bytes(key) for key in txn.cursor().iternext(values=False)]
        try:
            return iter([key.decode() for key in keys if key != META_KEY])
        except UnicodeDecodeError as error:
            raise MicroLensError(
                f"{self.path}: holds a key that is not an id ({error}). {_REBUILD}"
            ) from error

    def read(self, item_id: str, size: int | None = None, frames: slice = slice(None)) -> np.ndarray | None:
        """Frames of an item, uint8 RGB [n, size, size, 3], or None where the store has none for it.

        ``size`` defaults to that of the store; another one is resized to, cheaply when it is smaller.
        ``frames`` are those to decode, all by default. Raises ``MicroLensError`` where the stored value is
        damaged.
        """
        try:
            return self._get(item_id, lambda value: decode_value(value, size, frames, self.meta.size))
        except (ValueError, lmdb.Error) as error:
            raise MicroLensError(
                f"{self.path}: the value of item {item_id!r} is damaged ({error}). {_REBUILD}"
            ) from error

    def _get(self, item_id, use):
        key = item_id.encode()
        if key == META_KEY or not 0 < len(key) <= environments.MAX_KEY_BYTES:
            return None
        with environments.reading(self.path), self._environment().begin(buffers=True) as txn:
            value = txn.get(key)
            return None if value is None else use(value)

    def _environment(self) -> lmdb.Environment:
        if self.__dict__.get("_pid") != os.getpid():
            self._opened = environments.open_for_reading(self.path, self._build_command())
            self._pid = os.getpid()
        return self._opened

    def _read_meta(self) -> StoreMeta:
        with environments.reading(self.path), self._environment().begin() as txn:
            record = txn.get(META_KEY)
        if record is None:
            raise MicroLensError(f"{self.path}: an LMDB, but not a media store. {self._build_command()}")
        meta = StoreMeta.from_json(record, self.path)
        if not meta.complete:
            raise MicroLensError(f"{self.path}: an unfinished build. {self._build_command()}")
        return meta

    def _build_command(self) -> str:
        command = "covers" if "cover" in self.path.name else "frames"
        return f"Build it with: recbole-microlens {command} RELEASE_FOLDER --dataset NAME"
