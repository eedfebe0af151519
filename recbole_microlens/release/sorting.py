"""Sorts interactions by user and time, drops repeats, and keeps each user's latest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

REPEATS = {"first": "the earliest is kept", "last": "the latest is kept", "keep": "all are kept"}


@dataclass(frozen=True)
class Sorted:
    """Interactions, user after user, each user's from the oldest on.

    Attributes
    ----------
    users : np.ndarray [users], int64
        The distinct users, ascending.
    lengths : np.ndarray [users], int64
        Interactions of each.
    item : np.ndarray [rows], int
    time_us : np.ndarray [rows], int64, or None
    duplicates : int
        Rows left out because another of their user and item is kept.
    repeats : int
        Rows that are kept although their user has that item in a row before, that is kept too.
    earlier : np.ndarray [users], int64, or None
        Interactions of each user that are left out because only the latest are kept.
    """

    users: np.ndarray
    lengths: np.ndarray
    item: np.ndarray
    time_us: np.ndarray | None
    duplicates: int
    repeats: int
    earlier: np.ndarray | None = None


def sort_rows(
    user: np.ndarray,
    item: np.ndarray,
    time_us: np.ndarray | None,
    n_items: int,
    repeats: str = "first",
    latest: int | None = None,
) -> Sorted:
    """Sort by user and time, ties in the order given.

    Parameters
    ----------
    user : np.ndarray [rows], int64
        At least one.
    item : np.ndarray [rows], int
        From 0 to ``n_items``.
    time_us : np.ndarray [rows], int64, or None
        Where there are none, a user's rows stay in the order given.
    n_items : int
    repeats : str, default 'first'
        Which of several rows with the same user and item are kept, a key of :data:`REPEATS`. The first is the
        earliest, not the one that stands first, as rows may be in any order.
    latest : int, optional
        How many of a user's rows are kept, of those that are left; by default all.
    """
    distinct, user = _dense(user)
    order = _order(user, time_us)
    user, item = user[order], item[order]
    time_us = None if time_us is None else time_us[order]
    repeated = _repeated(user * n_items + item, "last" if repeats == "last" else "first")
    duplicates = 0
    if repeated is not None and repeats != "keep":
        duplicates = int(repeated.sum())
        user, item = user[~repeated], item[~repeated]
        time_us = None if time_us is None else time_us[~repeated]
        repeated = None
    lengths = np.bincount(user, minlength=len(distinct))
    earlier = None if latest is None else np.maximum(lengths - latest, 0)
    if latest is not None and lengths.max() > latest:
        from_end = np.cumsum(lengths)[user] - np.arange(len(user))  # 1 for a user's last row
        kept = from_end <= latest
        user, item = user[kept], item[kept]
        time_us = None if time_us is None else time_us[kept]
        lengths = np.minimum(lengths, latest)
        repeated = None if repeated is None else _repeated(user * n_items + item, "first")
    kept_repeats = 0 if repeated is None else int(repeated.sum())
    return Sorted(distinct, lengths, item, time_us, duplicates, kept_repeats, earlier)


def _dense(user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct users, ascending, and the place of each row's among them."""
    least, most = int(user.min()), int(user.max())
    if most - least < max(4 * len(user), 1 << 16):
        user = user - least
        is_used = np.zeros(most - least + 1, dtype=bool)
        is_used[user] = True
        distinct = np.flatnonzero(is_used)
        if len(distinct) < len(is_used):
            user = (np.cumsum(is_used) - 1)[user]
        return distinct + least, user
    codes, found = pd.factorize(user, sort=True)
    return np.asarray(found), codes


def _order(user: np.ndarray, time_us: np.ndarray | None) -> np.ndarray:
    """The rows by user and time; rows that are equal in both keep their order.

    Two sorts of whole numbers in which the row's own place stands behind what it is sorted by: NumPy sorts
    numbers several times as fast as it finds the order that sorts them.
    """
    place_bits = len(user).bit_length()
    in_order = np.arange(len(user))
    if time_us is not None:
        time = time_us - time_us.min()
        if time.max() >= 1 << (63 - place_bits) and not (time % 1000).any():
            time //= 1000
        if time.max() >= 1 << (63 - place_bits):
            return np.lexsort((time, user))
        if (time[1:] < time[:-1]).any():
            in_order = np.sort((time << place_bits) | in_order) & ((1 << place_bits) - 1)
    if int(user.max()) >= 1 << (63 - place_bits):
        return in_order[np.argsort(user[in_order], kind="stable")]
    by_time = user[in_order]
    if (by_time[1:] < by_time[:-1]).any():
        by_user = np.sort((by_time << place_bits) | np.arange(len(user))) & ((1 << place_bits) - 1)
        in_order = in_order[by_user]
    return in_order


def _repeated(cells: np.ndarray, keep: str) -> np.ndarray | None:
    """Which cells are there before, or for ``last`` again behind; None where no cell is there twice."""
    in_order = np.sort(cells)
    if not (in_order[1:] == in_order[:-1]).any():
        return None
    return pd.Series(cells).duplicated(keep="last" if keep == "last" else "first").to_numpy()
