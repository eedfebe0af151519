"""An activation cache of some items, which grows: rows are added at its end, and none is ever changed.

Beside ``meta.json`` and the rows it has ``held.txt``: a line for each part that is on the disk, a checksum,
the number of the first row, and the items of the rows from there on. A row that no line names does not count,
so that a build that is killed leaves a cache of what it had come to, and a process that reads the cache is
not disturbed by another one that adds to it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from recbole_microlens.activation_cache.build import partial_path, recorded, remove_records, write_rows
from recbole_microlens.activation_cache.store import META, CachedRows, CacheMeta, begun, rows_path
from recbole_microlens.encoders.trunk_output import TrunkOutput

HELD = "held.txt"


@dataclass(frozen=True)
class Part:
    """Items that are added together.

    Attributes
    ----------
    first : int
        The number of the first one's row.
    item_ids : np.ndarray [u], int64
    """

    first: int
    item_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.item_ids)


class GrowingCache:
    """Adds items to a cache; the process that holds its folder begins it, others of the same run may join.

    Parameters
    ----------
    folder : Path
        See :func:`growing_path`.
    meta : CacheMeta
        What the cache says of itself; what is there of another one is removed.
    """

    def __init__(self, folder: Path, meta: CacheMeta):
        self.folder = folder
        self.meta = meta
        if CacheMeta.read(folder) != meta:
            self._start()
        self._files = [
            rows_path(folder, number).open("r+b", buffering=0) for number in range(len(meta.formats))
        ]

    def parts_of(self, item_ids: np.ndarray, part_items: int) -> list[Part]:
        """Items that are not held yet, in their order, in parts behind the last row."""
        slots = held_slots(self.folder, self.meta)
        new = item_ids[slots[item_ids] < 0]
        first = int(slots.max()) + 1
        return [
            Part(first + start, new[start : start + part_items]) for start in range(0, len(new), part_items)
        ]

    def write(self, part: Part, rows: TrunkOutput) -> None:
        """Store the rows of a part, and record that once they are on the disk.

        Raises
        ------
        Overflow
            A finite value became infinite in the type of the rows.
        """
        write_rows(self._files, self.meta.formats, part.first, rows)
        record(self.folder, part.first, part.item_ids.tolist())

    def finish(self) -> None:
        self.close()

    def discard(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def _start(self) -> None:
        (self.folder / META).unlink(missing_ok=True)  # first: without it nothing of the rest counts
        for path in self.folder.iterdir():
            path.unlink()
        (self.folder / HELD).touch()
        for number in range(len(self.meta.formats)):
            rows_path(self.folder, number).touch()
        self.meta.write(self.folder)


def growing_path(final: Path) -> Path:
    """Where the cache of some items lies, beside that of all."""
    return final.with_name(final.name + ".some")


def open_growing(final: Path, parts: dict) -> CachedRows | None:
    """What is there of a growing cache, if it is of this very fingerprint and holds an item."""
    folder = growing_path(final)
    meta = CacheMeta.read(folder)
    if meta is None or meta.parts != parts:
        return None
    slots = held_slots(folder, meta)
    reading = begun(folder) if slots.max() >= 0 else None
    return None if reading is None else CachedRows(folder, meta, torch.from_numpy(slots), reading)


def adopt_unfinished(final: Path, meta: CacheMeta) -> bool:
    """Make a growing cache of what an unfinished one of all items holds, where there is none yet.

    Its rows stay where they are. Whoever calls this holds the unfinished one, and with it, from then on, the
    growing one.
    """
    partial, folder = partial_path(final), growing_path(final)
    done = recorded(partial) if CacheMeta.read(partial) == meta else set()
    if not done or folder.exists():
        return False
    (partial / HELD).unlink(missing_ok=True)
    for start, stop in sorted(done):
        record(partial, start, range(start, min(stop, meta.n_items)))
    partial.rename(folder)
    remove_records(folder)
    return True


def held_slots(folder: Path, meta: CacheMeta) -> np.ndarray:
    """The number of each item's row, [n_items] int64, -1 where it has none that is whole."""
    slots = np.full(meta.n_items, -1, np.int64)
    paths = [rows_path(folder, number) for number in range(len(meta.formats))]
    sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
    whole = min(size // form.row_bytes for size, form in zip(sizes, meta.formats, strict=True))
    for line in _lines(folder / HELD):
        first, *item_ids = map(int, line.split())
        numbers = range(first, min(first + len(item_ids), whole))
        taken = np.array(item_ids[: len(numbers)], np.int64)
        if first >= 0 and ((taken > 0) & (taken < meta.n_items)).all():
            slots[taken] = numbers
    return slots


def record(folder: Path, first: int, item_ids: Sequence[int]) -> None:
    """Say in a line that the rows of items from number ``first`` on are on the disk.

    Each line begins with a line end, too, so that one that a kill has cut does not spoil the next.
    """
    body = " ".join(map(str, (first, *item_ids)))
    line = f"\n{crc32(body.encode()):08x} {body}\n".encode()
    descriptor = os.open(folder / HELD, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _lines(path: Path) -> list[str]:
    """What the whole lines say; those with another checksum than their own are left out."""
    text = path.read_bytes().decode("ascii", "replace") if path.is_file() else ""
    pairs = (line.partition(" ") for line in text.splitlines())
    return [body for crc, _, body in pairs if body and crc == f"{crc32(body.encode()):08x}"]
