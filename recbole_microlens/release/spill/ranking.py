"""Users whose ids are not all numbers: each partition in natural order, and all of them merged."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.files import written_whole
from recbole_microlens.release.interactions import Piece
from recbole_microlens.release.spill.keys import NameFiles
from recbole_microlens.release.spill.partitions import SortedPartition, file_of, save

_DIGITS = re.compile(rb"([0-9]+)")
_USERS_AT_ONCE = 1 << 16
_ORDERED = "-ordered"


def sort_key(name: str) -> tuple[bytes, int, str]:
    """A key with the order of :func:`~recbole_microlens.release.ids.natural_key`; bytes compare faster."""
    parts = _DIGITS.split(name.encode())
    return (
        b"\0".join(_of_digits(part) if place % 2 else part for place, part in enumerate(parts)),
        len(name),
        name,
    )


def _of_digits(digits: bytes) -> bytes:
    digits = digits.lstrip(b"0")
    return len(digits).to_bytes(4, "big") + digits


def order_by_name(partitions: list[SortedPartition], names: NameFiles) -> list[SortedPartition]:
    """Put the users of each partition in natural order of their names, which are written beside them."""
    done, known = [], (-1, dict[int, str]())
    total = sum(partition.users for partition in partitions)
    with tqdm(
        total=total, desc="ordering", unit=" users", unit_scale=True, delay=2, disable=None
    ) as progress:
        for partition in partitions:
            base = partition.base.with_name(partition.base.name + _ORDERED)
            if not file_of(base, "json").is_file():
                if known[0] != partition.number:
                    known = partition.number, names.names_of(partition.number)
                _order(partition, base, known[1])
            done.append(SortedPartition(base, **json.loads(file_of(base, "json").read_bytes())))
            progress.update(partition.users)
    for partition in partitions:
        partition.remove()
    return done


def _order(partition: SortedPartition, base: Path, names: dict[int, str]) -> None:
    users = [str(key) if key >= 0 else names[key] for key in partition.array("users").tolist()]
    keys = list(map(sort_key, users))
    order = np.array(sorted(range(len(users)), key=keys.__getitem__), dtype=np.int64)
    del keys
    lengths = partition.array("lengths")
    rows = rows_of_users(lengths, order)
    with written_whole(names_path(base)) as file:
        file.writelines(f"{users[place]}\n" for place in order.tolist())
    save(base, "lengths", lengths[order])
    save(base, "items", partition.array("items")[rows])
    if file_of(partition.base, "times").is_file():
        save(base, "times", partition.array("times")[rows])
    if file_of(partition.base, "earlier").is_file():
        save(base, "earlier", partition.array("earlier")[order])
    counts = {name: getattr(partition, name) for name in ("users", "rows", "duplicates", "repeats")}
    with written_whole(file_of(base, "json")) as file:
        json.dump(counts, file)


def names_path(base: Path) -> Path:
    """The file of the users' names of an ordered partition."""
    return base.with_name(f"{base.name}.names.txt")


def rows_of_users(lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The rows of users in another order, where user u has ``lengths[u]`` rows; int64."""
    lengths = lengths.astype(np.int64)
    starts = (np.cumsum(lengths) - lengths)[order]
    counts = lengths[order]
    first = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return first + np.arange(len(first))


def merged(partitions: list[SortedPartition], has_times: bool, has_earlier: bool) -> Iterator[Piece]:
    """The users of all ordered partitions in natural order; times are in microseconds."""
    streams = [_names(partition, place) for place, partition in enumerate(partitions)]
    cursors = [_Cursor(partition, has_times, has_earlier) for partition in partitions]
    users = heapq.merge(*streams)
    while block := list(islice(users, _USERS_AT_ONCE)):
        of_partition = np.array([place for _, place in block])
        taken = [cursors[place].take(count) for place, count in _counts(of_partition)]
        lengths = np.concatenate([found.lengths for found in taken])
        order = np.empty(len(block), dtype=np.int64)
        order[np.argsort(of_partition, kind="stable")] = np.arange(len(block))
        rows = rows_of_users(lengths, order)
        items = np.concatenate([found.item for found in taken])[rows]
        times = np.concatenate([found.time_ms for found in taken])[rows] if has_times else None
        earlier = np.concatenate([found.earlier for found in taken])[order] if has_earlier else None
        yield Piece([key[2] for key, _ in block], lengths[order], items, times, earlier)


def _names(partition: SortedPartition, place: int) -> Iterator[tuple[tuple[bytes, int, str], int]]:
    with names_path(partition.base).open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield sort_key(line[:-1]), place


def _counts(of_partition: np.ndarray) -> list[tuple[int, int]]:
    places, counts = np.unique(of_partition, return_counts=True)
    return list(zip(places.tolist(), counts.tolist(), strict=True))


class _Cursor:
    """How far an ordered partition has been read."""

    def __init__(self, partition: SortedPartition, has_times: bool, has_earlier: bool):
        self._lengths, self._items = partition.array("lengths"), partition.array("items")
        self._times = partition.array("times") if has_times else None
        self._earlier = partition.array("earlier") if has_earlier else None
        self._user = self._row = 0

    def take(self, users: int) -> Piece:
        own = slice(self._user, self._user + users)
        lengths = np.array(self._lengths[own], dtype=np.int64)
        rows = slice(self._row, self._row + int(lengths.sum()))
        self._user, self._row = own.stop, rows.stop
        times = None if self._times is None else np.array(self._times[rows])
        earlier = None if self._earlier is None else np.array(self._earlier[own])
        return Piece((), lengths, np.array(self._items[rows]), times, earlier)
