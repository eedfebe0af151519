"""A side feature of items: a value or several of each, whose embeddings are added to that of the id."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SideFeature(nn.Module):
    """The mean of the embeddings of an item's values; zeros where it has none.

    Parameters
    ----------
    values : Tensor [n_items, most], int64
        Of each item, from 1 on; 0 where it has fewer values than others.
    dim : int
        d.
    std : float
        Standard deviation of the initial embeddings.
    """

    values: Tensor

    def __init__(self, values: Tensor, dim: int, std: float):
        super().__init__()
        self.register_buffer("values", values, persistent=False)
        self.table = nn.EmbeddingBag(int(values.max()) + 1, dim, mode="mean", padding_idx=0)
        with torch.no_grad():
            self.table.weight.normal_(std=std)[0] = 0

    def forward(self, item_ids: Tensor) -> Tensor:
        """Item ids [U] -> [U, d]."""
        return self.table(self.values[item_ids])
