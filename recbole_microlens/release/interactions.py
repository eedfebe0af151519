"""Puts the rows of a pairs file in the order in which the atomic files are written."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from recbole_microlens.release.ids import natural_order
from recbole_microlens.release.pairs import Pairs

REPEATS = {"first": "the earliest is kept", "last": "the latest is kept", "keep": "all are kept"}


@dataclass(frozen=True)
class Interactions:
    """Interactions sorted by user and time.

    Attributes
    ----------
    users, items : list[str]
        The ids in natural order.
    user, item : np.ndarray [n], int64
        Places in ``users`` and ``items``; ``user`` is sorted.
    position : np.ndarray [n], int64
        1, 2, 3, ... within each user, from the oldest on.
    time_ms : np.ndarray [n], int64, or None
        Epoch milliseconds, or None where the release has no times.
    duplicates : int
        The number of rows left out because another of their user and item is kept.
    repeats : int
        The number of rows that are kept although their user has that item in another row before.
    respelled : int
        The number of ids whose white space within became single spaces.
    """

    users: list[str]
    items: list[str]
    user: np.ndarray
    item: np.ndarray
    position: np.ndarray
    time_ms: np.ndarray | None
    duplicates: int
    repeats: int = 0
    respelled: int = 0

    def __len__(self) -> int:
        return len(self.user)


def arrange(pairs: Pairs, repeats: str = "first") -> Interactions:
    """Sort by user (natural order) and time, ties in file order.

    Parameters
    ----------
    pairs : Pairs
        The rows, in file order.
    repeats : str, default 'first'
        Which of several rows with the same user and item are kept, a key of :data:`REPEATS`. The first is the
        earliest, not the one that stands first in the file, whose rows may be in any order.
    """
    users, user = _ranked(pairs.users, pairs.user)
    items, item = _ranked(pairs.items, pairs.item)
    order = np.lexsort((user,) if pairs.time_us is None else (pairs.time_us, user))  # lexsort is stable
    user, item = user[order], item[order]
    repeated = _repeated(user * len(items) + item, "last" if repeats == "last" else "first")
    kept = np.ones_like(repeated) if repeats == "keep" else ~repeated
    user = user[kept]
    return Interactions(
        users=users,
        items=items,
        user=user,
        item=item[kept],
        position=_positions(user, len(users)),
        time_ms=None if pairs.time_ms is None else pairs.time_ms[order][kept],
        duplicates=int((~kept).sum()),
        repeats=int((repeated & kept).sum()),
        respelled=pairs.respelled,
    )


def _repeated(cells: np.ndarray, keep: Literal["first", "last"]) -> np.ndarray:
    return pd.Series(cells).duplicated(keep=keep).to_numpy()


def _ranked(names: list[str], codes: np.ndarray) -> tuple[list[str], np.ndarray]:
    # A bad row may have been the only one of its user or item: such an id has a code but no row.
    used = np.bincount(codes, minlength=len(names)) > 0
    order = natural_order(names)
    order = order[used[order]]
    rank = np.full(len(names), -1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return [names[place] for place in order], rank[codes]


def _positions(user: np.ndarray, n_users: int) -> np.ndarray:
    counts = np.bincount(user, minlength=n_users)
    starts = np.cumsum(counts) - counts
    return np.arange(len(user)) - starts[user] + 1
