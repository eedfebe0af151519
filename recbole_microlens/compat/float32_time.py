"""RecBole keeps times in float32, where epoch milliseconds are 131,072 ms apart, and sorts users by them."""

from __future__ import annotations

import numpy as np


def order_lost(users: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Where float32 loses the order of two neighbouring interactions of one user.

    Parameters
    ----------
    users, times : ndarray
        [n], sorted by user, then time.

    Returns
    -------
    ndarray
        [n - 1] bool, of row i and row i + 1.
    """
    same_user = users[1:] == users[:-1]
    return same_user & (np.diff(times) > 0) & (np.diff(times.astype(np.float32)) <= 0)
