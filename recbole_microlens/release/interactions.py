"""The interactions of a release in the order in which they are written, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from recbole_microlens.release.ids import natural_order
from recbole_microlens.release.pairs import Pairs
from recbole_microlens.release.sorting import sort_rows

_ROWS_OF_A_PIECE = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Some users with their interactions, user after user, each user's from the oldest on.

    Attributes
    ----------
    users : Sequence[str] or np.ndarray [u], int64
        The ids, in natural order.
    lengths : np.ndarray [u], int64
        Interactions of each.
    item : np.ndarray [r], int
        Places in the dataset's items.
    time_ms : np.ndarray [r], int64, or None
        Epoch milliseconds, or None where the release has no times.
    earlier : np.ndarray [u], int, or None
        How many earlier interactions of each user are left out, where only the latest are kept.
    """

    users: Sequence[str] | np.ndarray
    lengths: np.ndarray
    item: np.ndarray
    time_ms: np.ndarray | None
    earlier: np.ndarray | None = None

    @property
    def position(self) -> np.ndarray:
        """1, 2, 3, ... within each user; int64 [r]."""
        ends = np.cumsum(self.lengths)
        return np.arange(1, len(self.item) + 1) - np.repeat(ends - self.lengths, self.lengths)


class Interactions(Protocol):
    """Interactions sorted by user and time.

    Attributes
    ----------
    items : list[str]
        The ids in natural order; each has an interaction.
    lengths : np.ndarray [users], int
        Interactions of each user.
    popularity : np.ndarray [items], int64
        Interactions of each item.
    has_times : bool
    duplicates : int
        The number of rows left out because another of their user and item is kept.
    repeats : int
        The number of rows that are kept although their user has that item in another row before.
    respelled : int
        The number of ids whose white space within became single spaces.
    """

    items: list[str]
    lengths: np.ndarray
    popularity: np.ndarray
    has_times: bool
    duplicates: int
    repeats: int
    respelled: int

    def pieces(self) -> Iterator[Piece]:
        """All of them, in pieces of any size."""


@dataclass
class ArrangedPairs:
    """Interactions that are held in memory; see :class:`Interactions`.

    ``users`` [users], ``item`` and ``time_ms`` [n] are those of all pieces.
    """

    users: list[str]
    items: list[str]
    lengths: np.ndarray
    item: np.ndarray
    time_ms: np.ndarray | None
    popularity: np.ndarray
    duplicates: int
    repeats: int = 0
    respelled: int = 0
    earlier: np.ndarray | None = None
    has_times: bool = field(init=False)

    def __post_init__(self) -> None:
        self.has_times = self.time_ms is not None

    def __len__(self) -> int:
        return len(self.item)

    def pieces(self) -> Iterator[Piece]:
        ends = np.cumsum(self.lengths)
        cuts = np.searchsorted(ends, np.arange(0, len(self), _ROWS_OF_A_PIECE), side="right")
        bounds = [*np.unique(cuts).tolist(), len(self.users)]
        for first, last in zip(bounds, bounds[1:], strict=False):
            rows = slice(int(ends[first - 1]) if first else 0, int(ends[last - 1]))
            times = None if self.time_ms is None else self.time_ms[rows]
            earlier = None if self.earlier is None else self.earlier[first:last]
            yield Piece(self.users[first:last], self.lengths[first:last], self.item[rows], times, earlier)


def arrange(pairs: Pairs, repeats: str = "first", latest: int | None = None) -> ArrangedPairs:
    """Sort by user (natural order) and time, ties in file order.

    Parameters
    ----------
    pairs : Pairs
        The rows, in file order.
    repeats, latest
        See :func:`~recbole_microlens.release.sorting.sort_rows`.
    """
    users, user = _ranked(pairs.users, pairs.user)
    items, item = _ranked(pairs.items, pairs.item)
    done = sort_rows(user, item, pairs.time_us, len(items), repeats, latest)
    popularity = np.bincount(done.item, minlength=len(items))
    item = done.item
    if (popularity == 0).any():  # of items that nobody has among the latest
        used = popularity > 0
        items = [name for name, is_used in zip(items, used.tolist(), strict=True) if is_used]
        item, popularity = (np.cumsum(used) - 1)[item], popularity[used]
    return ArrangedPairs(
        users=users,
        items=items,
        lengths=done.lengths,
        item=item,
        time_ms=None if done.time_us is None else done.time_us // 1000,
        popularity=popularity,
        duplicates=done.duplicates,
        repeats=done.repeats,
        respelled=pairs.respelled,
        earlier=done.earlier,
    )


def _ranked(names: list[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    # A bad row may have been the only one of its user or item: such an id has a code but no row.
    used = np.bincount(codes, minlength=len(names)) > 0
    order = natural_order(names)
    order = order[used[order]]
    rank = np.full(len(names), -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return [names[place] for place in order], rank[codes]
