"""Reads the pairs file of a release, or an app's log: who watched what, and when."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recbole_microlens.release.columns import PairsColumns
from recbole_microlens.release.ids import IdTable
from recbole_microlens.release.opening import open_table
from recbole_microlens.release.rows import BadRows
from recbole_microlens.release.table import Table
from recbole_microlens.release.times import UNITS, TimeUnit


@dataclass(frozen=True)
class Pairs:
    """The rows of a pairs file, in file order.

    Attributes
    ----------
    users, items : list[str]
        The distinct ids.
    user, item : np.ndarray [rows], int64
        Places in ``users`` and ``items``.
    time_us : np.ndarray [rows], int64, or None
        Microseconds since 1970; None for a sequence TSV, whose order is that of the file. Plain numbers,
        which are not plausible times, are taken for milliseconds.
    columns : PairsColumns
        Which column was taken for what.
    unit : TimeUnit | None
        What the times are written in; None for a sequence TSV.
    events : Mapping[str, int]
        The rows of each kind of event, those that were left out too; empty without such a column.
    respelled : int
        Spellings of ids whose white space within became single spaces.
    """

    users: list[str]
    items: list[str]
    user: np.ndarray
    item: np.ndarray
    time_us: np.ndarray | None
    columns: PairsColumns
    unit: TimeUnit | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    respelled: int = 0

    @property
    def time_ms(self) -> np.ndarray | None:
        """Whole milliseconds since 1970, int64 [rows]."""
        return None if self.time_us is None else self.time_us // 1000


def read_pairs(
    path: Path, bad: BadRows, named: Mapping[str, str] | None = None, events: tuple[str, ...] = ()
) -> Pairs:
    """Read ``*_pairs.csv`` (user, item, time), ``*_pairs.tsv`` (user, items from old to new), or a log.

    A header, where there is one, says which column is which. Times are ISO 8601, or numbers whose unit shows
    in their size; all rows must have one unit.

    Parameters
    ----------
    path : Path
        The file; see :func:`~recbole_microlens.release.table.open_table`.
    bad : BadRows
        Takes rows that cannot be read.
    named : Mapping[str, str], optional
        Columns by what they are; see :func:`~recbole_microlens.release.columns.pairs_columns`.
    events : tuple[str, ...], default ()
        The kinds of events to take; all by default.

    Raises
    ------
    MicroLensError
        A row cannot be read and ``bad`` does not skip; the header lacks a column; a kind of event is in no
        row; no row is left.
    """
    return collect(open_table(path, named, events), bad)


def collect(table: Table, bad: BadRows) -> Pairs:
    """The rows of a table, all at once; see :func:`read_pairs`."""
    users, items = IdTable("user"), IdTable("item")
    user, item, times, units = [], [], [], []
    events: Counter[str] = Counter()
    for part in table.parts():
        bad.add_all(table.path, part.bad)
        events.update(part.events)
        user.append(users.codes_of(part.rows.user))
        item.append(items.codes_of(part.rows.item))
        if part.rows.time_us is not None and part.rows.unit is not None:
            times.append(part.rows.time_us)
            units.append(part.rows.unit)
    user_codes, item_codes, unit_places = (_joined(parts) for parts in (user, item, units))
    time_us = None if table.columns.time is None else _joined(times)
    unit = None
    if time_us is not None and len(time_us):
        counts = np.bincount(unit_places, minlength=len(UNITS))
        most = int(counts.argmax())
        unit = UNITS[most]
        if counts[most] < len(time_us):
            table.report_other_units(most, int(counts[most]), bad)
            same = unit_places == most
            user_codes, item_codes, time_us = user_codes[same], item_codes[same], time_us[same]
    table.kept.require_found(events)
    if not len(user_codes):
        raise table.nothing_left(bad)
    respelled = len(users.respelled) + len(items.respelled)
    return Pairs(
        users.names, items.names, user_codes, item_codes, time_us, table.columns, unit, events, respelled
    )


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
