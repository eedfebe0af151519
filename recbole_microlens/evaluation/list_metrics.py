"""RecBole's metrics of each ranked list by itself, from the ranks of its targets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.ranks import Ranks


def metric_of_lists(ranks: Ranks, metric: str) -> np.ndarray:
    """A metric of each ranked list; its mean is what RecBole reports.

    Parameters
    ----------
    ranks : Ranks
        Exact as far as the largest cut-off of the run.
    metric : str
        ``hit``, ``ndcg``, ``mrr``, ``recall`` or ``precision``, then ``@`` and a cut-off, in any case.

    Returns
    -------
    np.ndarray
        [lists] float64, in the order of ``ranks.row``.

    Raises
    ------
    MicroLensError
        The metric cannot be had from the ranks of targets.
    """
    name, _, cut_off = metric.lower().partition("@")
    is_cut_off = cut_off.isdecimal() and len(cut_off) < 10 and int(cut_off) > 0
    if name not in _METRICS or not is_cut_off:
        known = ", ".join(f"{each}@K" for each in _METRICS)
        raise MicroLensError(f"{metric} is not a metric of single users. Choose one of {known}.")
    _, number = np.unique(ranks.row, return_inverse=True)
    return _METRICS[name](ranks.rank, number, int(cut_off))


def _found(rank: np.ndarray, number: np.ndarray, k: int) -> np.ndarray:
    return np.bincount(number, weights=rank <= k)


def _hit(rank: np.ndarray, number: np.ndarray, k: int) -> np.ndarray:
    return (_found(rank, number, k) > 0).astype(np.float64)


def _recall(rank: np.ndarray, number: np.ndarray, k: int) -> np.ndarray:
    return _found(rank, number, k) / np.bincount(number)


def _precision(rank: np.ndarray, number: np.ndarray, k: int) -> np.ndarray:
    return _found(rank, number, k) / k


def _mrr(rank: np.ndarray, number: np.ndarray, k: int) -> np.ndarray:
    best = np.zeros(number.max() + 1)
    np.maximum.at(best, number, np.where(rank <= k, 1 / rank, 0.0))
    return best


def _ndcg(rank: np.ndarray, number: np.ndarray, k: int) -> np.ndarray:
    gain = np.bincount(number, weights=np.where(rank <= k, 1 / np.log2(rank + 1.0), 0.0))
    best = np.cumsum(1 / np.log2(np.arange(k) + 2.0))  # of 1, 2, ..., k targets
    return gain / best[np.minimum(np.bincount(number), k) - 1]


_METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "hit": _hit,
    "ndcg": _ndcg,
    "mrr": _mrr,
    "recall": _recall,
    "precision": _precision,
}
