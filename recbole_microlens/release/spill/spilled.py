"""Interactions of a table that does not fit in memory, arranged on the disk."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder, written_whole
from recbole_microlens.release.ids import natural_order
from recbole_microlens.release.interactions import Piece
from recbole_microlens.release.rows import BadRows
from recbole_microlens.release.spill.bad_rows import SpilledBadRows
from recbole_microlens.release.spill.distributing import BAD_ROWS, Reading, distribute, rows_path
from recbole_microlens.release.spill.keys import HashCollision, NameFiles
from recbole_microlens.release.spill.partitions import SortedPartition, sort_partitions
from recbole_microlens.release.spill.plan import Plan, make_plan, require_disk
from recbole_microlens.release.spill.ranking import merged, order_by_name
from recbole_microlens.release.table import Table

_VERSION = 1
_IDENTITY = "identity.json"
_ROWS_AT_ONCE = 1 << 21


@dataclass
class SpilledInteractions:
    """Interactions in partitions; see :class:`~recbole_microlens.release.interactions.Interactions`."""

    partitions: list[SortedPartition]
    is_named: bool
    items: list[str]
    lengths: np.ndarray
    popularity: np.ndarray
    has_times: bool
    has_earlier: bool
    duplicates: int
    repeats: int
    respelled: int
    rank: np.ndarray

    def pieces(self) -> Iterator[Piece]:
        found = self._in_order()
        if self.is_named:
            found = merged(self.partitions, self.has_times, self.has_earlier)
        for piece in found:
            times = None if piece.time_ms is None else piece.time_ms // 1000
            yield replace(piece, item=self.rank[piece.item], time_ms=times)

    def _in_order(self) -> Iterator[Piece]:
        """The users of all partitions; times are in microseconds."""
        for partition in self.partitions:
            users, lengths, items = map(partition.array, ("users", "lengths", "items"))
            times = partition.array("times") if self.has_times else None
            earlier = partition.array("earlier") if self.has_earlier else None
            ends = np.cumsum(lengths, dtype=np.int64)
            cuts = np.searchsorted(ends, np.arange(0, len(items), _ROWS_AT_ONCE), side="right")
            bounds = [*np.unique(cuts).tolist(), len(users)]
            for first, last in zip(bounds, bounds[1:], strict=False):
                rows = slice(int(ends[first - 1]) if first else 0, int(ends[last - 1]))
                yield Piece(
                    np.array(users[first:last]),
                    np.array(lengths[first:last], dtype=np.int64),
                    np.array(items[rows]),
                    None if times is None else np.array(times[rows]),
                    None if earlier is None else np.array(earlier[first:last]),
                )


@contextmanager
def spill_folder(out: Path, dataset: str, identity: dict) -> Iterator[Path]:
    """The folder of the partitions of a conversion, beside the dataset's; it goes when the block ends well,
    and with input that is refused.

    What a process left there that converted the same in the same way is kept.

    Raises
    ------
    MicroLensError
        Another process is converting this dataset.
    """
    folder = out / f".{dataset}.converting.partial"
    with locked_folder(folder) as is_ours:
        if not is_ours:
            raise MicroLensError(
                f"{out / dataset}: another process converts this dataset. Wait for it to end, or stop it."
            )
        if _identity(folder) != (identity := json.loads(json.dumps(identity | {"version": _VERSION}))):
            _empty(folder)
            with written_whole(folder / _IDENTITY) as file:
                json.dump(identity, file)
        try:
            yield folder
        except MicroLensError:  # the same table would end in it again
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _identity(folder: Path) -> dict | None:
    try:
        return json.loads((folder / _IDENTITY).read_bytes())
    except (OSError, ValueError):
        return None


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


@dataclass(frozen=True)
class Spilled:
    """What a table holds: the arranged interactions, and what was counted while it was read."""

    interactions: SpilledInteractions
    reading: Reading
    bad: BadRows


def spill(
    table: Table, folder: Path, memory: int, skip_bad_rows: bool, repeats: str, latest: int | None, extra: int
) -> Spilled:
    """Arrange a table on the disk, in bounded memory; continues what is in the folder.

    Parameters
    ----------
    table : Table
    folder : Path
        See :func:`spill_folder`.
    memory : int
        Bytes that may be used in all.
    skip_bad_rows : bool
    repeats, latest
        See :func:`~recbole_microlens.release.sorting.sort_rows`.
    extra : int
        Bytes a row that the outputs take on the disk besides.

    Raises
    ------
    MicroLensError
        A row cannot be read and bad rows are not skipped, no row is left, or the disk is too small.
    """
    for salt in range(8):
        try:
            return _spill(table, folder, memory, skip_bad_rows, repeats, latest, extra, salt)
        except HashCollision:  # one in 10^4 conversions of 34 million users whose ids are no numbers
            identity = (folder / _IDENTITY).read_bytes()
            _empty(folder)
            (folder / _IDENTITY).write_bytes(identity)
    raise MicroLensError(f"{table.path}: two user ids cannot be told apart by eight hashes. Rename them.")


def _spill(table, folder, memory, skip_bad_rows, repeats, latest, extra, salt) -> Spilled:
    bad = SpilledBadRows(folder / BAD_ROWS, skip_bad_rows)
    begun = Reading.read(folder)
    if begun is None:
        identity = _identity(folder)
        _empty(folder)
        with written_whole(folder / _IDENTITY) as file:
            json.dump(identity, file)
        plan = make_plan(table, memory, salt)
        print(require_disk(folder, plan.rows, plan.disk_bytes + extra * plan.rows), file=sys.stderr)
    else:
        plan = Plan.from_dict(begun.plan)
    table.block = min(table.block, plan.block)
    reading, items = distribute(table, plan, folder, bad)
    unit = reading.unit
    table.kept.require_found(reading.events)
    if unit is not None and len(reading.units) > 1:
        table.report_other_units(unit, reading.units[unit][0], bad)
    if not reading.total:
        raise table.nothing_left(bad)
    has_times = table.columns.time is not None
    rows = {rows_path(folder, number): reading.rows[number] for number in sorted(reading.rows)}
    partitions = sort_partitions(
        folder, rows, plan.most_rows, len(items), unit if has_times else None, repeats, latest
    )
    if reading.names:
        partitions = order_by_name(partitions, NameFiles(folder, reading.names))
    interactions = _arranged(partitions, bool(reading.names), items, has_times, latest, reading)
    return Spilled(interactions, reading, bad)


def _arranged(partitions, is_named, items, has_times, latest, reading) -> SpilledInteractions:
    popularity = np.zeros(len(items), dtype=np.int64)
    for partition in partitions:
        popularity += np.bincount(partition.array("items"), minlength=len(items))
    order = natural_order(items)
    order = order[popularity[order] > 0]
    rank = np.full(len(items), -1, dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return SpilledInteractions(
        partitions=partitions,
        is_named=is_named,
        items=[items[place] for place in order.tolist()],
        lengths=np.concatenate([partition.array("lengths") for partition in partitions]),
        popularity=popularity[order],
        has_times=has_times,
        has_earlier=latest is not None,
        duplicates=sum(partition.duplicates for partition in partitions),
        repeats=sum(partition.repeats for partition in partitions),
        respelled=len(reading.respelled_users) + len(reading.respelled_items),
        rank=rank,
    )
