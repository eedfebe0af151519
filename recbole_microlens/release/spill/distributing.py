"""Reads a table into partitions; what has been read stays when the process is killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import naming, written_whole
from recbole_microlens.release.ids import IdTable
from recbole_microlens.release.spill.bad_rows import SpilledBadRows
from recbole_microlens.release.spill.keys import NameFiles, keys_of, name_paths
from recbole_microlens.release.spill.plan import MOST_ITEMS, ROW, UNIT_SHIFT, Plan
from recbole_microlens.release.table import Part, Place, Table
from recbole_microlens.release.times import UNITS

_STATE = "reading.json"
_ITEMS = "items.txt"
BAD_ROWS = "bad_rows.tsv"
_SECONDS_BETWEEN_STATES = 5.0


@dataclass
class Reading:
    """How far a table has been distributed, and what has been counted so far.

    Attributes
    ----------
    plan : dict
        See :class:`~recbole_microlens.release.spill.plan.Plan`.
    place : Place
    done : bool
        Whether the whole table has been read.
    rows : dict[int, int]
        By partition, how many rows of its file count.
    names : dict[int, tuple[int, int]]
        See :class:`~recbole_microlens.release.spill.keys.NameFiles`.
    items, item_bytes : int
        How many item ids count, and their bytes in the file.
    bad : int
        How many bad rows.
    bad_bytes : int
        Of the file of the bad rows.
    events : dict[str, int]
    units : dict[int, tuple[int, int, int]]
        By unit of time: rows, first and last time in microseconds.
    respelled_users, respelled_items : list[str]
    """

    plan: dict
    place: Place = Place()
    done: bool = False
    rows: dict[int, int] = field(default_factory=dict)
    names: dict[int, tuple[int, int]] = field(default_factory=dict)
    items: int = 0
    item_bytes: int = 0
    bad: int = 0
    bad_bytes: int = 0
    events: dict[str, int] = field(default_factory=dict)
    units: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    respelled_users: list[str] = field(default_factory=list)
    respelled_items: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Rows in all partitions."""
        return sum(self.rows.values())

    @property
    def unit(self) -> int | None:
        """The place of the unit that most times are in; None where there are no times."""
        counts = np.zeros(len(UNITS), dtype=np.int64)
        for unit, (rows, _, _) in self.units.items():
            counts[unit] = rows
        return int(counts.argmax()) if self.units else None

    def name_bytes(self, partition: int) -> tuple[int, int]:
        """Bytes that count of the files of a partition's keys and names."""
        names, size = self.names.get(partition, (0, 0))
        return 8 * names, size

    def write(self, folder: Path) -> None:
        """Write it whole, in the place of the last one."""
        with written_whole(folder / _STATE) as file:
            json.dump(asdict(self), file)

    @classmethod
    def read(cls, folder: Path) -> Reading | None:
        """What a process before this one has written; None where it has not come that far, or files of it are
        missing or shorter than they should be.
        """
        try:
            content = json.loads((folder / _STATE).read_bytes())
        except (OSError, ValueError):
            return None
        for name in ("rows", "names", "units"):
            content[name] = {int(key): value for key, value in content[name].items()}
        for name in ("names", "units"):
            content[name] = {key: tuple(value) for key, value in content[name].items()}
        reading = cls(**content | {"place": Place(**content["place"])})
        return reading if reading.done or reading.has_all_files(folder) else None

    def has_all_files(self, folder: Path) -> bool:
        """Whether the files have at least what counts of them; after a power failure they may not."""
        sizes = {rows_path(folder, number): rows * ROW.itemsize for number, rows in self.rows.items()}
        for number in self.names:
            sizes |= dict(zip(name_paths(folder, number), self.name_bytes(number), strict=True))
        sizes |= {folder / _ITEMS: self.item_bytes, folder / BAD_ROWS: self.bad_bytes}
        return all(
            size == 0 or path.is_file() and path.stat().st_size >= size for path, size in sizes.items()
        )


def rows_path(folder: Path, partition: int) -> Path:
    """The file of a partition's rows, see :data:`~recbole_microlens.release.spill.plan.ROW`."""
    return folder / f"rows-{partition:05d}.bin"


def distribute(table: Table, plan: Plan, folder: Path, bad: SpilledBadRows) -> tuple[Reading, list[str]]:
    """Read a table into the partitions of a folder, or what is left of it.

    Parameters
    ----------
    table : Table
    plan : Plan
        How to cut it, where no process has begun.
    folder : Path
    bad : BadRows
        Takes the rows that cannot be read, from the table's start on.

    Returns
    -------
    Reading
        What is in the folder.
    list[str]
        The item ids by their codes.
    """
    reading = Reading.read(folder) or Reading(plan.to_dict())
    distributor = _Distributor(table, reading, folder, bad)
    if not reading.done:
        distributor.run()
    return reading, distributor.items.names


class _Distributor:
    def __init__(self, table: Table, reading: Reading, folder: Path, bad: SpilledBadRows):
        self._table, self._reading, self._folder, self._bad = table, reading, folder, bad
        self._plan = Plan.from_dict(reading.plan)
        if not reading.done:
            for partition in range(self._plan.partitions):
                _cut(rows_path(folder, partition), reading.rows.get(partition, 0) * ROW.itemsize)
            for partition in range(self._plan.partitions):
                for path, size in zip(
                    name_paths(folder, partition), reading.name_bytes(partition), strict=True
                ):
                    _cut(path, size)
            _cut(folder / _ITEMS, reading.item_bytes)
        self._names = NameFiles(folder, reading.names)
        self.items = IdTable("item", _lines(folder / _ITEMS) if reading.items else ())
        bad.continue_at(reading.bad, reading.bad_bytes)
        self._events = Counter(reading.events)
        self._respelled = set(reading.respelled_users), set(reading.respelled_items)

    def run(self) -> None:
        last_state = monotonic()
        for part in _ahead(self._table.parts(self._reading.place)):
            self._take(part)
            if monotonic() - last_state > _SECONDS_BETWEEN_STATES:
                self._write_state()
                last_state = monotonic()
        self._reading.done = True
        self._write_state()

    def _take(self, part: Part) -> None:
        self._bad.add_all(self._table.path, part.bad)
        self._events.update(part.events)
        self._respelled[0].update(part.rows.user.respelled)
        self._respelled[1].update(part.rows.item.respelled)
        if len(part.rows):
            self._put(part)
        self._reading.place = part.place

    def _put(self, part: Part) -> None:
        rows = part.rows
        keys, named, names = keys_of(rows.user, self._plan.salt)
        if names:
            self._names.add(named, names, self._plan.partition_of(named))
        records = np.empty(len(keys), dtype=ROW)
        records["user"] = keys
        records["item"] = self.items.codes_of(rows.item)
        self._require_items()
        if rows.time_us is None or rows.unit is None:  # a user's order is that of the file
            records["time"] = np.arange(self._reading.total, self._reading.total + len(keys))
        else:
            records["time"] = rows.time_us
            records["item"] |= rows.unit.astype(np.int32) << UNIT_SHIFT
            self._count_units(rows.time_us, rows.unit)
        partition = self._plan.partition_of(keys)
        records = records[np.argsort(partition, kind="stable")]
        ends = np.cumsum(np.bincount(partition, minlength=self._plan.partitions)).tolist()
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            if start < end:
                path = rows_path(self._folder, number)
                with naming(path), path.open("ab") as file:
                    file.write(records[start:end].view(np.uint8).data)
                self._reading.rows[number] = self._reading.rows.get(number, 0) + end - start

    def _require_items(self) -> None:
        if len(self.items.names) >= MOST_ITEMS:
            raise MicroLensError(
                f"{self._table.path} has {MOST_ITEMS:,} items or more. Name another column as the item, with "
                "--columns item=NAME."
            )

    def _count_units(self, time_us: np.ndarray, unit: np.ndarray) -> None:
        units = [int(unit[0])] if unit.min() == unit.max() else np.unique(unit).tolist()
        for place in units:
            times = time_us if len(units) == 1 else time_us[unit == place]
            rows, first, last = self._reading.units.get(place, (0, int(times[0]), int(times[0])))
            first, last = min(first, int(times.min())), max(last, int(times.max()))
            self._reading.units[place] = rows + len(times), first, last

    def _write_state(self) -> None:
        reading, path = self._reading, self._folder / _ITEMS
        with naming(path), path.open("ab") as file:
            file.write("".join(f"{name}\n" for name in self.items.names[reading.items :]).encode())
            reading.item_bytes = file.tell()
        reading.items = len(self.items.names)
        reading.names = self._names.written
        reading.bad, reading.bad_bytes = self._bad.written()
        reading.events = dict(self._events)
        reading.respelled_users, reading.respelled_items = map(sorted, self._respelled)
        reading.write(self._folder)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def _cut(path: Path, size: int) -> None:
    """Leave the first bytes of a file, and no file without any."""
    if size:
        with naming(path), path.open("r+b") as file:
            file.truncate(size)
    else:
        path.unlink(missing_ok=True)


def _ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """The same, the next one read while one is looked at."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part
