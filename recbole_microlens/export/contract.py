"""What is true of a model's vectors, tried on users before anything is written: products are the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.data.sequences import UserItems
from recbole_microlens.export.asked import Asked, asked_by_histories, asked_by_users
from recbole_microlens.export.network import ProductOfTables

if TYPE_CHECKING:
    from recbole_microlens.export.recommender import Recommender

TOLERANCE = 1e-4
_USERS, _MADE_UP = 32, 12


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """How far rows are from what they should be: the largest difference of a row, as a share of its largest
    number, for the worst row; infinite where a number is not finite.

    Parameters
    ----------
    found, expected : np.ndarray [B, d]
    """
    if found.shape != expected.shape or not np.isfinite(found).all() or not np.isfinite(expected).all():
        return float("inf")
    if not expected.size:
        return 0.0
    largest = np.abs(expected.astype(np.float64)).max(axis=1)
    differences = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(axis=1)
    return float((differences / np.maximum(largest, np.finfo(np.float32).tiny)).max())


def reason_against_vectors(model: Recommender) -> str | None:
    """Why the items of a model cannot be searched by an inner product; ``None`` if they can.

    What :class:`~recbole_microlens.export.scoring.ScoreKind` states is tried on some users and made-up
    histories, all items of each.
    """
    if model.kind.vectors is None:
        return (
            f"{model.config['model']} scores by {model.kind.formula}: an inner product of two vectors ranks "
            "its items wrongly"
        )
    worst = max(_error(model, asked) for asked in some_asked(model))
    if worst <= TOLERANCE:
        return None
    return (
        f"the scores of {model.config['model']} are not the products of its vectors: they differ by up to "
        f"{worst:.1e} of the highest score of a user, {TOLERANCE:g} is allowed"
    )


def some_asked(model: Recommender) -> list[Asked]:
    """Users of a run, and histories that nobody has: short, long, with an item twice."""
    if isinstance(model.network, ProductOfTables):
        rows = _spread(1, len(model.network.users), _USERS)
        return [Asked(rows, UserItems(rows[:0], torch.zeros(len(rows) + 1, dtype=torch.int64)))]
    found = []
    if model.users is not None:
        has_history = model.users.count.nonzero()[:, 0]
        rows = has_history[_spread(0, len(has_history), _USERS)]
        found.append(asked_by_users(model.users, rows, "now"))
    if not model.knows_users:
        found.append(asked_by_histories(_made_up(len(model.item_ids), model.config["MAX_ITEM_LIST_LENGTH"])))
    return [asked for asked in found if len(asked)]


def _error(model: Recommender, asked: Asked) -> float:
    scores = model.scores(asked)[:, 1:]
    products = model.queries(asked) @ model.index_vectors().float()[1:].T
    return difference(products.cpu().numpy(), scores.cpu().numpy())


def _made_up(n_items: int, longest: int) -> list[list[int]]:
    drawn = np.random.default_rng(0)
    lengths = [1, 2, max(1, longest // 2), longest, longest + 3, *drawn.integers(1, longest + 1, _MADE_UP)]
    histories = [drawn.integers(1, n_items, length).tolist() for length in lengths[:_MADE_UP]]
    for history in histories[1::2]:
        history[-1] = history[0]
    return histories


def _spread(first: int, end: int, most: int) -> Tensor:
    """At most so many whole numbers of a range, spread evenly."""
    if end <= first:
        return torch.zeros(0, dtype=torch.int64)
    return torch.linspace(first, end - 1, min(most, end - first)).long()
