"""Lists of items for some users: from the scores of all items, from an index, or the popular ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_microlens.export.answers import best_items
from recbole_microlens.export.asked import Asked

if TYPE_CHECKING:
    from recbole_microlens.export.index import ItemIndex

Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Place among those asked, internal id, score and rank from 1 on, of all lists one after the other."""


def ranked(scores: Tensor, asked: Asked, k: int, filter_viewed: bool, allowed: list[int] | None) -> Found:
    """The k best of all items.

    Parameters
    ----------
    scores : Tensor [B, n_items]
        Changed: what may not be recommended becomes minus infinity.
    asked : Asked
        Whose scores they are.
    allowed : list of int, optional
        Internal ids of the only items that may be recommended.
    """
    scores[:, 0] = -torch.inf
    if filter_viewed:
        row, item = asked.pairs()
        scores[row.to(scores.device), item.to(scores.device)] = -torch.inf
    if allowed is not None:
        barred = torch.ones(scores.size(1), dtype=torch.bool, device=scores.device)
        barred[allowed] = False
        scores[:, barred] = -torch.inf
    return best_items(scores, k)


def searched(index: ItemIndex, queries: Tensor, asked: Asked, k: int, filter_viewed: bool) -> Found:
    """The k best items that an index finds; its row r is the item r + 1, as it has no padding.

    Parameters
    ----------
    queries : Tensor [B, d']
    asked : Asked
        Whose queries they are.
    """
    seen = None
    if filter_viewed:
        bounds, items = asked.seen.start.tolist(), asked.seen.items.numpy() - 1
        seen = [items[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True)]
    found, scores = index.search(queries.cpu(), k, seen)
    row, place = (found >= 0).nonzero()
    return row, found[row, place] + 1, scores[row, place], place + 1


def popularity_order(train_count: Tensor, n_items: int) -> Tensor:
    """Numbers [1, n_items] that order items by training interactions, equally popular ones by internal id.

    Parameters
    ----------
    train_count : Tensor
        Of the items that training knows; others have none.
    """
    counts = torch.zeros(n_items)
    counts[: len(train_count)] = train_count.float()
    order = counts.argsort(descending=True, stable=True)
    return torch.empty_like(counts).index_put((order,), -torch.arange(n_items).float()).unsqueeze(0)


def frame(names: np.ndarray, items, scores, ranks) -> pd.DataFrame:
    """``user_id, item_id, score, rank``, whatever their number."""
    columns = {
        "user_id": names,
        "item_id": np.asarray(items, dtype=object),
        "score": np.asarray(scores, dtype=np.float32),
        "rank": np.asarray(ranks, dtype=np.int64),
    }
    return pd.DataFrame(columns)
