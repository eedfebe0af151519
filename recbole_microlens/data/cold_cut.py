"""The cut of ``protocol: cold``: which interactions are before it, and which are test targets after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from recbole_microlens.data.kept import latest_of_users


@dataclass(frozen=True)
class ColdCut:
    """A time, and what of the interactions is kept.

    Attributes
    ----------
    time : float
        Items that occur up to this time are known, the others cold.
    before : np.ndarray, int
        Rows at or before it: each user's latest ones.
    targets : np.ndarray, int
        Rows after it: the first interaction with a cold item of each user who has one before.
    is_cold : np.ndarray [N], bool
        Whether the row's item is cold.
    """

    time: float
    before: np.ndarray
    targets: np.ndarray
    is_cold: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """Both kinds of rows, ascending."""
        return np.sort(np.concatenate([self.before, self.targets]))


def cold_cut(
    users: np.ndarray,
    times: np.ndarray,
    first_times: np.ndarray,
    order: np.ndarray,
    share: float,
    most: int | None,
) -> ColdCut:
    """Cut interactions in two at the time up to which a share of them has taken place.

    Parameters
    ----------
    users, times : np.ndarray [N]
        Of each interaction.
    first_times : np.ndarray [N]
        When the item of each interaction first occurred, for anybody.
    order : np.ndarray [N], int
        Sorts the interactions by user and time.
    share : float
        Of the interactions, at least this share is at or before the cut.
    most : int or None
        How many of a user are kept at most, with the target: one fewer of those before the cut.
    """
    place = max(int(np.ceil(share * len(times))), 1) - 1
    cut = float(np.partition(times, place)[place])
    is_before, is_cold = times <= cut, first_times > cut
    before = order[is_before[order]]
    if most is not None:
        before = before[latest_of_users(users[before], np.arange(len(before)), most - 1)]
    candidates = order[is_cold[order] & np.isin(users[order], users[before])]
    targets = candidates[~pd.Series(users[candidates]).duplicated().to_numpy()]
    return ColdCut(cut, before, targets, is_cold)
