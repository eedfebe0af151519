"""Sorts partitions, each in memory; one that is too large is cut once more."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.files import naming, written_whole
from recbole_microlens.release.sorting import sort_rows
from recbole_microlens.release.spill.plan import ROW, SORTED_AT_ONCE, UNIT_SHIFT

_ITEM = (1 << UNIT_SHIFT) - 1
_SAMPLED_KEYS = 1 << 16
_KINDS = ("users", "lengths", "items", "times", "earlier")


@dataclass(frozen=True)
class SortedPartition:
    """Users of a partition with their interactions; the arrays are files, see :meth:`array`.

    Attributes
    ----------
    base : Path
        The files' common start.
    users, rows, duplicates, repeats : int
    """

    base: Path
    users: int
    rows: int
    duplicates: int
    repeats: int

    @property
    def number(self) -> int:
        """Of the partition of the plan that it is, or is a piece of."""
        return int(self.base.name.split("-")[1])

    def array(self, kind: str) -> np.ndarray:
        """``users`` [users] int64, ``lengths`` and ``earlier`` [users] int32, ``items`` [rows] int32, or
        ``times`` [rows] int64 in microseconds, as a memory map.
        """
        return np.load(file_of(self.base, kind), mmap_mode="r", allow_pickle=False)

    def remove(self) -> None:
        """Delete the files."""
        for kind in _KINDS:
            file_of(self.base, kind).unlink(missing_ok=True)


def sort_partitions(
    folder: Path,
    rows: dict[Path, int],
    most_rows: int,
    n_items: int,
    unit: int | None,
    repeats: str,
    latest: int | None,
) -> list[SortedPartition]:
    """Sort partitions, of which some may have been sorted before; their files of rows are deleted.

    Parameters
    ----------
    folder : Path
    rows : dict[Path, int]
        The files of rows in order of their keys, and how many rows each has.
    most_rows : int
        Of a partition that is sorted at once.
    n_items : int
    unit : int or None
        The rows whose time is in another unit are left out.
    repeats, latest
        See :func:`~recbole_microlens.release.sorting.sort_rows`.
    """
    sort = partial(
        _sort_file, most_rows=most_rows, n_items=n_items, unit=unit, repeats=repeats, latest=latest
    )
    done: list[SortedPartition] = []
    with (
        ThreadPoolExecutor(SORTED_AT_ONCE) as pool,
        tqdm(
            total=sum(rows.values()), desc="sorting", unit=" rows", unit_scale=True, delay=2, disable=None
        ) as progress,
    ):
        for path, found in zip(rows, pool.map(sort, rows), strict=True):
            done += found
            progress.update(rows[path])
    return [partition for partition in done if partition.users]


def _sort_file(path: Path, most_rows: int, **how) -> list[SortedPartition]:
    pieces = path.with_suffix(".pieces.json")
    if pieces.is_file():
        return [_sort_whole(path.with_name(name), **how) for name in json.loads(pieces.read_bytes())]
    if not path.is_file() or path.stat().st_size <= most_rows * ROW.itemsize:
        return [_sort_whole(path, **how)]
    names = [piece.name for piece in _cut_again(path, most_rows)]
    with written_whole(pieces) as file:
        json.dump(names, file)
    path.unlink()
    return _sort_file(path, most_rows, **how)


def _cut_again(path: Path, most_rows: int) -> list[Path]:
    """Files of the rows between some of the keys, in order; a user stays in one."""
    rows = np.memmap(path, dtype=ROW, mode="r")
    sample = np.sort(rows["user"][:: max(len(rows) // _SAMPLED_KEYS, 1)])
    wanted = 2 * -(-len(rows) // most_rows)
    cuts = np.unique(sample[len(sample) * np.arange(1, wanted) // wanted])
    pieces = [path.with_name(f"{path.stem}-{number:04d}.bin") for number in range(len(cuts) + 1)]
    for piece in pieces:
        piece.unlink(missing_ok=True)
    for start in range(0, len(rows), most_rows):
        block = np.array(rows[start : start + most_rows])
        place = np.searchsorted(cuts, block["user"], side="right").astype(np.int16)
        block = block[np.argsort(place, kind="stable")]
        ends = np.cumsum(np.bincount(place, minlength=len(pieces))).tolist()
        for piece, begin, end in zip(pieces, [0, *ends], ends, strict=False):
            with naming(piece), piece.open("ab") as file:
                file.write(block[begin:end].view(np.uint8).data)
    return pieces


def _sort_whole(path: Path, n_items: int, unit: int | None, repeats: str, latest: int | None):
    base = path.with_suffix("")
    summary = file_of(base, "json")
    if not summary.is_file():
        with written_whole(summary) as file:
            json.dump(_sort(base, path, n_items, unit, repeats, latest), file)
    path.unlink(missing_ok=True)
    return SortedPartition(base, **json.loads(summary.read_bytes()))


def _sort(base: Path, path: Path, n_items: int, unit: int | None, repeats: str, latest: int | None) -> dict:
    rows = np.fromfile(path, dtype=ROW)
    user, time, item = (np.ascontiguousarray(rows[name]) for name in ("user", "time", "item"))
    del rows
    if unit is not None:
        same = (item >> UNIT_SHIFT) == unit
        if not same.all():
            user, time, item = user[same], time[same], item[same]
        item = item & _ITEM
    if not len(user):
        return {"users": 0, "rows": 0, "duplicates": 0, "repeats": 0}
    done = sort_rows(user, item, time, n_items, repeats, latest)
    save(base, "users", done.users)
    save(base, "lengths", done.lengths.astype(np.int32))
    save(base, "items", done.item.astype(np.int32, copy=False))
    if done.time_us is not None:
        save(base, "times", done.time_us)
    if done.earlier is not None:
        save(base, "earlier", done.earlier.astype(np.int32))
    return {
        "users": len(done.users),
        "rows": len(done.item),
        "duplicates": done.duplicates,
        "repeats": done.repeats,
    }


def file_of(base: Path, kind: str) -> Path:
    """The file of an array, or ``json``, of a partition."""
    return base.with_name(f"{base.name}.{kind}" + ("" if kind == "json" else ".npy"))


def save(base: Path, kind: str, values: np.ndarray) -> None:
    """Write an array of a partition."""
    path = file_of(base, kind)
    with written_whole(path, "wb") as file:
        np.save(file, values, allow_pickle=False)
