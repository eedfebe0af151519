"""The sequence store: a dataset's interactions as arrays on the disk, read as memory maps.

``<name>.sequences/`` holds every user's items from the oldest on, user after user:

- ``offsets.npy`` int64 [users + 1]: the items of user u are ``items[offsets[u]:offsets[u + 1]]``;
- ``items.npy`` int32 [interactions]: the line in ``item_ids.txt`` of each, from 0 on;
- ``times.npy`` int64 [interactions]: epoch milliseconds, where the release has times;
- ``earlier.npy`` int32 [users]: how many earlier interactions of each user were left out, where any were;
- ``item_ids.txt`` and ``user_ids.txt``: an id a line, in UTF-8;
- ``user_ids.npy`` int64 [users + 1]: where each line of ``user_ids.txt`` begins;
- ``manifest.json``: sizes and checksums, written last. A folder without it is no store.

Users stand in natural order where ``convert`` wrote them, as in ``.inter``.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, printable

FORMAT, VERSION = "recbole-microlens sequences", 1
SUFFIX = ".sequences"
MANIFEST = "manifest.json"
OFFSETS, ITEMS, TIMES, EARLIER = "offsets.npy", "items.npy", "times.npy", "earlier.npy"
ITEM_IDS, USER_IDS, USER_LINES = "item_ids.txt", "user_ids.txt", "user_ids.npy"
HEADER_BYTES = 128  # of a .npy file of one dimension
_AGAIN = "Convert the release again."
_READ_AT_ONCE = 1 << 22
_COUNTS = ("users", "items", "interactions")


def store_folder(data_path: Path | str, dataset: str) -> Path:
    """Where the sequence store of a dataset is; ``data_path`` is the dataset's own folder."""
    return Path(data_path) / f"{dataset}{SUFFIX}"


def has_store(data_path: Path | str, dataset: str) -> bool:
    """Whether a dataset has a sequence store that is complete."""
    return (store_folder(data_path, dataset) / MANIFEST).is_file()


@dataclass(frozen=True)
class Manifest:
    """What a sequence store says of itself.

    Attributes
    ----------
    users, items, interactions : int
    has_times, has_earlier : bool
        Which of the files that may be left out are there.
    latest : int or None
        How many interactions of each user were kept at most when the store was written; ``None``: all.
    files : dict[str, dict[str, int]]
        By name, ``bytes`` of the whole file, and ``crc32`` of its values (of all bytes of a text).
    source : str
        What it was made from.
    options : dict
        How it was made.
    """

    users: int
    items: int
    interactions: int
    has_times: bool
    has_earlier: bool
    latest: int | None
    files: dict[str, dict[str, int]]
    source: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a store.

        Raises
        ------
        MicroLensError
            It is not there, cut, of another kind, or of a later version.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise MicroLensError(f"{folder} is not a sequence store: it has no {MANIFEST}. {_AGAIN}")
        try:
            content = json.loads(path.read_bytes())
        except ValueError as error:
            raise MicroLensError(f"{path} is cut or damaged ({error}). {_AGAIN}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise MicroLensError(
                f"{path} is not the manifest of a sequence store: its format is not {FORMAT!r}. {_AGAIN}"
            )
        if content.get("version") != VERSION:
            raise MicroLensError(
                f"{path} has the version {printable(content.get('version'))}, this program reads {VERSION}. "
                "Install the version that wrote it, or convert the release again."
            )
        known = {name: content[name] for name in cls.__dataclass_fields__ if name in content}
        if not _is_sound(known):
            raise MicroLensError(f"{path} is damaged: its sizes or files are missing or odd. {_AGAIN}")
        return cls(**known)

    def as_json(self) -> str:
        return json.dumps({"format": FORMAT, "version": VERSION, **self.__dict__}, indent=2) + "\n"

    @property
    def identity(self) -> str:
        """A digest of the files' checksums: equal for stores of equal content."""
        return hashlib.blake2b(json.dumps(self.files, sort_keys=True).encode(), digest_size=8).hexdigest()


def _is_sound(content: dict[str, Any]) -> bool:
    numbers = [content.get(name) for name in _COUNTS]
    files, latest = content.get("files"), content.get("latest", 0)
    return (
        all(type(number) is int and number > 0 for number in numbers)
        and all(type(content.get(key)) is bool for key in ("has_times", "has_earlier"))
        and (latest is None or type(latest) is int and latest > 0)
        and isinstance(files, dict)
        and _names(content["has_times"], content["has_earlier"]) == files.keys()
        and all(
            isinstance(of_file, dict) and all(type(of_file.get(key)) is int for key in ("bytes", "crc32"))
            for of_file in files.values()
        )
    )


def _names(has_times: bool, has_earlier: bool) -> set[str]:
    names = {OFFSETS, ITEMS, USER_LINES, ITEM_IDS, USER_IDS}
    return names | ({TIMES} if has_times else set()) | ({EARLIER} if has_earlier else set())


class SequenceStore:
    """A sequence store, open for reading; nothing of it is held in memory but what has been asked for.

    Attributes
    ----------
    folder : Path
    manifest : Manifest
    offsets : np.ndarray [users + 1], int64
    items : np.ndarray [interactions], int32
    times : np.ndarray [interactions], int64, or None
        Epoch milliseconds.
    earlier : np.ndarray [users], int32, or None
        How many interactions of each user were left out, all before those that are there.
    """

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.manifest = folder, manifest
        users, interactions = manifest.users, manifest.interactions
        self.offsets = self._array(OFFSETS, np.int64, users + 1)
        self.items = self._array(ITEMS, np.int32, interactions)
        self.times = self._array(TIMES, np.int64, interactions) if manifest.has_times else None
        self.earlier = self._array(EARLIER, np.int32, users) if manifest.has_earlier else None
        self._lines = self._array(USER_LINES, np.int64, users + 1)
        if self.offsets[0] != 0 or self.offsets[-1] != interactions:
            raise MicroLensError(f"{folder / OFFSETS} does not fit {interactions:,} interactions. {_AGAIN}")

    @classmethod
    def open(cls, folder: Path | str) -> SequenceStore:
        """Open a store; its manifest, and the size, type and shape of each file are looked at.

        Raises
        ------
        MicroLensError
            The folder holds no store, or a file of it is missing, cut, or another one.
        """
        folder = Path(folder)
        manifest = Manifest.read(folder)
        for name, expected in manifest.files.items():
            path = folder / name
            if not path.is_file():
                raise MicroLensError(f"{path} is missing from the sequence store. {_AGAIN}")
            size = path.stat().st_size
            if size != expected["bytes"]:
                raise MicroLensError(
                    f"{path} has {size:,} bytes instead of {expected['bytes']:,}: it is cut, or of another "
                    f"store. {_AGAIN}"
                )
        return cls(folder, manifest)

    def __reduce__(self):
        # A worker process that is not forked opens it again; a memory map would be sent as a copy.
        return SequenceStore.open, (self.folder,)

    def __len__(self) -> int:
        return self.manifest.users

    def _array(self, name: str, dtype: type, length: int) -> np.memmap:
        path = self.folder / name
        try:
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise MicroLensError(f"{path} is not a readable .npy file ({error}). {_AGAIN}") from error
        if found.dtype != dtype or found.shape != (length,):
            raise MicroLensError(
                f"{path} holds {found.dtype} {list(found.shape)} instead of {np.dtype(dtype)} [{length}]. "
                f"{_AGAIN}"
            )
        return found

    def read_items(self, start: int, stop: int) -> np.ndarray:
        """``items[start:stop]``, copied: a pass over a memory map would count as memory of the process.

        Raises
        ------
        MicroLensError
            The file has become shorter, or a code is that of no item.
        """
        codes = self._read(ITEMS, self.items, start, stop)
        if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < self.manifest.items:
            raise MicroLensError(f"{self.folder / ITEMS} names an item that is not there. {_AGAIN}")
        return codes

    def read_offsets(self) -> np.ndarray:
        """``offsets``, copied.

        Raises
        ------
        MicroLensError
            The file has become shorter, or its numbers do not ascend.
        """
        offsets = self._read(OFFSETS, self.offsets, 0, len(self) + 1)
        if (offsets[1:] < offsets[:-1]).any():
            raise MicroLensError(f"{self.folder / OFFSETS} goes backwards. {_AGAIN}")
        return offsets

    def read_earlier(self) -> np.ndarray | None:
        """``earlier``, copied."""
        return None if self.earlier is None else self._read(EARLIER, self.earlier, 0, len(self))

    def _read(self, name: str, array: np.memmap, start: int, stop: int) -> np.ndarray:
        with (self.folder / name).open("rb") as file:
            file.seek(array.offset + start * array.itemsize)
            found = np.fromfile(file, dtype=array.dtype, count=stop - start)
        if len(found) != stop - start:
            raise MicroLensError(f"{self.folder / name} has become shorter. {_AGAIN}")
        return found

    @cached_property
    def item_ids(self) -> list[str]:
        """The original id of each item code."""
        path = self.folder / ITEM_IDS
        try:
            found = path.read_bytes().decode().removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise MicroLensError(f"{path} is not UTF-8 ({error}). {_AGAIN}") from error
        if len(found) != self.manifest.items:
            raise MicroLensError(
                f"{path} has {len(found):,} lines for {self.manifest.items:,} items. {_AGAIN}"
            )
        return found

    @cached_property
    def _user_text(self) -> mmap.mmap:
        with (self.folder / USER_IDS).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def user_ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """The original ids of users, by their places in the store."""
        starts, ends = self._lines[np.asarray(rows)], self._lines[np.asarray(rows) + 1]
        found = (self._user_text[int(a) : int(b) - 1] for a, b in zip(starts, ends, strict=True))
        return [text.decode("utf-8", errors="replace") for text in found]

    def row_of_user(self, user_id: str) -> int | None:
        """The place of a user in the store, ``None`` for one that it does not have: a search of the text."""
        line = user_id.encode() + b"\n"
        if line.count(b"\n") > 1:
            return None
        at = 0 if self._user_text[: len(line)] == line else self._user_text.find(b"\n" + line) + 1
        if at == 0 and self._user_text[: len(line)] != line:
            return None
        return int(np.searchsorted(self._lines, at))

    def verify(self, progress: bool = True) -> None:
        """Read every file and compare its checksum; look whether users and items are what they should be.

        Raises
        ------
        MicroLensError
            With the file that is damaged.
        """
        total = sum(of_file["bytes"] for of_file in self.manifest.files.values())
        with tqdm(
            total=total, desc="reading the store", unit="B", unit_scale=True, delay=2,
            disable=None if progress else True,
        ) as bar:  # fmt: skip
            for name, expected in self.manifest.files.items():
                path, checksum = self.folder / name, 0
                with path.open("rb") as file:
                    file.seek(HEADER_BYTES if name.endswith(".npy") else 0)
                    while block := file.read(_READ_AT_ONCE):
                        checksum = crc32(block, checksum)
                        bar.update(len(block))
                if checksum != expected["crc32"]:
                    raise MicroLensError(f"{path} is damaged: its checksum is another. {_AGAIN}")
        for start in range(0, len(self.items), _READ_AT_ONCE):
            self.read_items(start, min(start + _READ_AT_ONCE, len(self.items)))
        self.read_offsets()
