"""How a table is cut into partitions that fit in memory, and what it takes on the disk."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.spill.keys import keys_of
from recbole_microlens.release.table import Table

ROW = np.dtype([("user", "<i8"), ("time", "<i8"), ("item", "<i4")])
"""A row of a partition's file; the unit of its time stands in the highest bits of ``item``."""

UNIT_SHIFT = 28
MOST_ITEMS = 1 << UNIT_SHIFT
LEAST_ROWS = 10_000  # of a partition
SORTED_AT_ONCE = 2

_OWN_BYTES = 330 << 20  # of the program with its libraries and the item ids
LEAST_MEMORY = _OWN_BYTES
_BYTES_A_ROW = 100  # while a partition is sorted
_SORTED_BYTES = 12  # of a row in a partition that has been sorted, without its user
_SLOTS = 1 << 16
_MOST_PARTITIONS = 1 << 12


@dataclass(frozen=True)
class Plan:
    """How rows are cut into partitions by their user's key.

    Attributes
    ----------
    rows : int
        Rows of the table, estimated.
    most_rows : int
        Of a partition that can be sorted at once.
    least, shift : int
        A number's slot is ``(number - least) >> shift``, within the first and the last slot.
    ends : tuple[int, ...]
        The first slot behind each partition of numbers, ascending.
    of_names : int
        Partitions of names, a power of two; they come behind those of numbers.
    block : int
        Bytes that are read at once.
    salt : int
        Of the hash of names.
    """

    rows: int
    most_rows: int
    least: int
    shift: int
    ends: tuple[int, ...]
    of_names: int
    block: int
    salt: int = 0

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self.ends) + self.of_names

    @property
    def disk_bytes(self) -> int:
        """Of all partitions, estimated: as rows, and sorted."""
        return self.rows * (ROW.itemsize + _SORTED_BYTES)

    def partition_of(self, keys: np.ndarray) -> np.ndarray:
        """The partition of each key, int16 [keys]."""
        table = np.repeat(np.arange(len(self.ends), dtype=np.int16), np.diff([0, *self.ends]))
        if not len(keys) or int(keys.min()) >= 0:
            return table[np.clip((keys - self.least) >> self.shift, 0, _SLOTS - 1)]
        slots = np.clip((np.maximum(keys, 0) - self.least) >> self.shift, 0, _SLOTS - 1)
        bits = self.of_names.bit_length() - 1
        of_name = (keys.view(np.uint64) << np.uint64(1)) >> np.uint64(64 - bits) if bits else np.uint64(0)
        return np.where(keys < 0, len(self.ends) + of_name.astype(np.int16), table[slots]).astype(np.int16)

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict) -> Plan:
        """The plan of :meth:`to_dict`."""
        return cls(**content | {"ends": tuple(content["ends"])})


def rows_in_memory(memory: int) -> int:
    """How many rows may be converted without files in between."""
    return max(memory - _OWN_BYTES, 0) // (2 * _BYTES_A_ROW)


def make_plan(table: Table, memory: int, salt: int = 0) -> Plan:
    """Cut a table by some of its rows.

    Parameters
    ----------
    table : Table
    memory : int
        Bytes that may be used in all.
    salt : int, default 0
        Of the hash of names.
    """
    sample = table.sample()
    keys = np.concatenate([np.empty(0, np.int64), *(keys_of(rows.user, salt)[0] for rows in sample.parts)])
    rows = sample.total
    most_rows = max((memory - _OWN_BYTES) // (SORTED_AT_ONCE * _BYTES_A_ROW), LEAST_ROWS)
    wanted = min(max(-(-rows * 5 // (most_rows * 4)), 1), _MOST_PARTITIONS)
    numbers = np.sort(keys[keys >= 0])
    share_of_names = 1 - len(numbers) / max(len(keys), 1)
    of_names = 1 << int(np.ceil(np.log2(max(wanted * share_of_names, 1))))
    least, most = (int(numbers[0]), int(numbers[-1])) if len(numbers) else (0, 0)
    shift = max((most - least).bit_length() - _SLOTS.bit_length() + 1, 0)
    return Plan(
        rows=rows,
        most_rows=most_rows,
        least=least,
        shift=shift,
        ends=_ends((numbers - least) >> shift, max(wanted - of_names if share_of_names else wanted, 1)),
        of_names=of_names,
        block=min(max(memory >> 6, 1 << 20), 32 << 20),
        salt=salt,
    )


def _ends(slots: np.ndarray, partitions: int) -> tuple[int, ...]:
    """Cuts between slots that leave as many of the given ones, sorted, in each partition."""
    if not len(slots):
        return (_SLOTS,)
    places = len(slots) * np.arange(1, partitions) // partitions
    return (*np.unique((slots[places] + 1).clip(1, _SLOTS - 1)).tolist(), _SLOTS)


def require_disk(folder: Path, rows: int, needed: int) -> str:
    """What a conversion takes on the disk, in words.

    Raises
    ------
    MicroLensError
        The disk of the folder has less than the bytes that are needed.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise MicroLensError(
            f"{folder}: the conversion needs about {needed / 1e9:,.1f} GB of disk here for a while, and "
            f"{free / 1e9:,.1f} GB are free. Free some, or choose another disk with --data-path."
        )
    return (
        f"About {rows:,} rows, more than fit in --memory: they are sorted by way of files, which take about "
        f"{needed / 1e9:,.1f} GB in {folder} ({free / 1e9:,.1f} GB are free)."
    )
