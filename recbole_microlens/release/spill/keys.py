"""Users as 64-bit keys: whole numbers as themselves, other ids by a hash, with their names in files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_microlens.files import naming
from recbole_microlens.release.ids import IdColumn, is_plain_number

_REMEMBERED = 1 << 20
_LINES_AT_ONCE = 1 << 20


class HashCollision(Exception):
    """Two ids have one key; with another salt they have two."""


def keys_of(column: IdColumn, salt: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The key of each row, int64; and the distinct keys that stand for names, with these.

    A number's key is the number, from 0 on. A name's key is below 0.
    """
    if column.numbers is not None or column.codes is None:
        numbers = np.empty(0, dtype=np.int64) if column.numbers is None else column.numbers
        return numbers, np.empty(0, dtype=np.int64), []
    is_number = np.array([is_plain_number(name) for name in column.names], dtype=bool)
    keys = np.empty(len(column.names), dtype=np.int64)
    named = [name for name, plain in zip(column.names, is_number.tolist(), strict=True) if not plain]
    keys[is_number] = [
        int(name) for name, plain in zip(column.names, is_number.tolist(), strict=True) if plain
    ]
    keys[~is_number] = _hashes(named, salt)
    return keys[column.codes], keys[~is_number], named


def _hashes(names: list[str], salt: int) -> np.ndarray:
    """SipHash of each name as a number below 0."""
    if not names:
        return np.empty(0, dtype=np.int64)
    hashed = pd.util.hash_array(np.array(names, dtype=object), hash_key=f"{salt:016d}", categorize=False)
    return (hashed | np.uint64(1 << 63)).view(np.int64)


def name_paths(folder: Path, partition: int) -> tuple[Path, Path]:
    """The file of the keys of a partition and that of their names."""
    return folder / f"names-{partition:05d}.keys", folder / f"names-{partition:05d}.txt"


class NameFiles:
    """The names behind keys, a file of keys and one of lines for each partition; most names stand in them
    once or a few times.

    Parameters
    ----------
    folder : Path
    written : dict[int, tuple[int, int]]
        By partition, how many names the files have, and their bytes.
    """

    def __init__(self, folder: Path, written: dict[int, tuple[int, int]]):
        self._folder = folder
        self.written = dict(written)
        self._recent = np.zeros(_REMEMBERED, dtype=np.int64)

    def add(self, keys: np.ndarray, names: list[str], partitions: np.ndarray) -> None:
        """Add names, but for those that were added lately."""
        # By another hash than the keys: two names that have one key must both come into the file.
        others = pd.util.hash_array(np.array(names, dtype=object), categorize=False).view(np.int64)
        slots = others & (_REMEMBERED - 1)
        is_new = self._recent[slots] != others
        self._recent[slots] = others
        for partition in np.unique(partitions[is_new]).tolist():
            places = np.flatnonzero(is_new & (partitions == partition))
            text = "".join(f"{names[place]}\n" for place in places.tolist()).encode()
            for path, data in zip(
                name_paths(self._folder, partition), (keys[places].tobytes(), text), strict=True
            ):
                with naming(path), path.open("ab") as file:
                    file.write(data)
            known, size = self.written.get(partition, (0, 0))
            self.written[partition] = known + len(places), size + len(text)

    def names_of(self, partition: int) -> dict[int, str]:
        """The names of a partition by their keys.

        Raises
        ------
        HashCollision
        """
        names: dict[int, str] = {}
        if partition not in self.written:
            return names
        for key, name in self._pairs(partition):
            if names.setdefault(key, name) != name:
                raise HashCollision
        return names

    def _pairs(self, partition: int) -> Iterator[tuple[int, str]]:
        keys, lines = name_paths(self._folder, partition)
        with keys.open("rb") as key_file, lines.open(encoding="utf-8", newline="\n") as line_file:
            while data := key_file.read(8 * _LINES_AT_ONCE):
                for key in np.frombuffer(data, dtype=np.int64).tolist():
                    yield key, next(line_file)[:-1]
