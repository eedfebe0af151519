"""Which interactions of a dataset are kept: those of items that are not rare, then each user's latest."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_microlens.data.sequences import position_in_group


def of_items_with(items: np.ndarray, least: int) -> np.ndarray:
    """Interactions whose item has at least ``least`` of them, counted once: what else is dropped makes no
    further item rare.

    Parameters
    ----------
    items : np.ndarray [N]
        The item of each interaction.

    Returns
    -------
    np.ndarray [N], bool
    """
    codes, _ = pd.factorize(items)
    return np.bincount(codes)[codes] >= least


def latest_of_users(users: np.ndarray, order: np.ndarray, most: int) -> np.ndarray:
    """The latest ``most`` interactions of each user.

    Parameters
    ----------
    users : np.ndarray [N]
        The user of each interaction.
    order : np.ndarray [N], int
        Sorts the interactions by user and time.

    Returns
    -------
    np.ndarray, int
        Their rows, ascending.
    """
    sorted_users = users[order]
    from_end = position_in_group((sorted_users[1:] == sorted_users[:-1])[::-1])[::-1]
    return np.sort(order[from_end < most])
