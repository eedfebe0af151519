"""RecBole keeps times in float32, where epoch milliseconds are 131,072 ms apart, and sorts users by them.

Where that would lose the order of two interactions of a user, their positions stand for the times. What
``convert`` writes has positions from the start, see :mod:`recbole_microlens.release.interactions`.
"""

from __future__ import annotations

import numpy as np


def exact_times(users: np.ndarray, times: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, int] | None:
    """What RecBole can sort by in the place of times.

    Parameters
    ----------
    users, times : ndarray [n]
    order : ndarray [n], int
        Row numbers that sort by user, then time.

    Returns
    -------
    tuple of ndarray [n], float64 and int, or None
        The position of each row among those of its user, from 0 on; and how many neighbours float32 would
        not keep in order. ``None`` if there are none.
    """
    by_user, in_time = users[order], times[order]
    same_user = by_user[1:] == by_user[:-1]
    lost = same_user & (np.diff(in_time) > 0) & (np.diff(in_time.astype(np.float32)) <= 0)
    if not lost.any():
        return None
    row = np.arange(len(order))
    first = np.maximum.accumulate(np.where(np.concatenate([[True], ~same_user]), row, 0))
    positions = np.empty(len(order))
    positions[order] = row - first
    return positions, int(lost.sum())
