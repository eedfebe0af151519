"""From scores to lists: the best items of each user, and the best users of each item."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_microlens.evaluation.top_items import top_items
from recbole_microlens.export.asked import Asked


class BestUsers:
    """The users with the highest shares of each item, of all that were looked at up to now."""

    def __init__(self, n_items: int, k: int):
        self._k = k
        self._shares = torch.empty(n_items, 0)
        self._users = torch.empty(n_items, 0, dtype=torch.int64)

    def add(self, shares: Tensor, users: Tensor) -> None:
        """Shares [m, B] of some users [B]."""
        shares = torch.cat([self._shares, shares], dim=1)
        users = torch.cat([self._users, users.expand(len(shares), -1)], dim=1)
        order = shares.argsort(dim=1, descending=True, stable=True)[:, : self._k]
        self._shares, self._users = shares.gather(1, order), users.gather(1, order)

    def frame(self, item_ids: np.ndarray, user_ids: np.ndarray) -> pd.DataFrame:
        """``item_id, user_id, score, rank`` for the m items, and for users by internal id."""
        row, place = (part.numpy() for part in torch.isfinite(self._shares).nonzero(as_tuple=True))
        return pd.DataFrame(
            {
                "item_id": item_ids[row],
                "user_id": user_ids[self._users.numpy()[row, place]],
                "score": self._shares.numpy()[row, place],
                "rank": place + 1,
            }
        )


def hide_seen(shares: Tensor, asked: Asked, items: Tensor) -> None:
    """Put minus infinity into [B, m] where user b has seen item m.

    Parameters
    ----------
    shares : Tensor [B, m]
    asked : Asked
        The users.
    items : Tensor [m], int64
        Internal ids, each once.
    """
    row, item = asked.pairs()
    order = items.argsort()
    place = torch.searchsorted(items[order], item).clamp(max=len(items) - 1)
    hit = items[order][place] == item
    shares[row[hit], order[place[hit]]] = -torch.inf


def best_items(scores: Tensor, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, column, score and rank of the k best of each row [B, n], flat; minus infinity is left out."""
    top = top_items(scores, min(k, scores.size(1)))  # [B, k]
    best = scores.gather(1, top)
    row, place = (part.cpu().numpy() for part in (best != -torch.inf).nonzero(as_tuple=True))
    return row, top.cpu().numpy()[row, place], best.cpu().numpy()[row, place], place + 1
