"""What lists of recommendations are like besides being right: how much of the catalogue they show, how
evenly, how far from what is popular; and whether scores follow popularity as they should.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import linregress


def coverage(shown: np.ndarray) -> float:
    """The share of all items that are in any list (Ge, Delgado-Battenfeld and Jannach 2010).

    Parameters
    ----------
    shown : np.ndarray [items], int
        In how many lists each item is.
    """
    return float((shown > 0).mean())


def gini(shown: np.ndarray) -> float:
    """The Gini index of how often items are shown: 0 if all are shown equally often, 1 - 1/n if one of n
    alone is (Fleder and Hosanagar 2009). Items that are never shown count.

    Parameters
    ----------
    shown : np.ndarray [items], int
        In how many lists each item is.
    """
    ascending, n = np.sort(shown).astype(np.float64), len(shown)
    total = ascending.sum()
    if total == 0:
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ ascending / (n * total))


def novelty(shown: np.ndarray, train_count: np.ndarray) -> float:
    """Mean information, in bits, of learning that a recommended item was chosen: -log2 of its share of the
    training interactions (Zhou et al. 2010), each item counted once more than it occurs, or an unseen one
    would be infinitely novel.

    Parameters
    ----------
    shown : np.ndarray [items], int
        In how many lists each item is.
    train_count : np.ndarray [items], int
        Training interactions of each item.
    """
    share = (train_count + 1) / (train_count.sum() + len(train_count))
    return float(-(shown @ np.log2(share)) / shown.sum())


def calibration(mean_score: np.ndarray, train_count: np.ndarray) -> tuple[float, float] | None:
    """Slope of an item's mean score over log popularity, and their correlation, over the items seen in
    training.

    A softmax model whose scores are the logarithms of the probabilities that users choose an item has a slope
    near 1; below 1, popular items are scored too low for it, above 1 too high. Of other losses only the sign
    and the correlation can be compared.

    Parameters
    ----------
    mean_score : np.ndarray [items]
        Over users; not finite where an item has none.
    train_count : np.ndarray [items], int
        Training interactions of each item.

    Returns
    -------
    tuple[float, float] | None
        ``None`` with fewer than three such items, or if all are equally popular.
    """
    known = (train_count > 0) & np.isfinite(mean_score)
    if known.sum() < 3 or len(np.unique(train_count[known])) < 2:
        return None
    fit = linregress(np.log(train_count[known]), mean_score[known])
    return float(fit.slope), float(fit.rvalue)
