"""LightGCN of the paper's tables: one hop over the graph of training pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.models.collaborative import CollaborativeModel
from recbole_microlens.models.sparse import SparsePattern


class LightGCNID(CollaborativeModel):
    """The mean of a node's embedding and of one hop over ``D^-1/2 A D^-1/2``, and the dot product of the two.

    A batch computes the hop of its own users and items alone, as weighted sums of rows: nothing of size
    [edges, d] exists, and no other node's hop is computed.

    Source: He et al., "LightGCN: simplifying and powering graph convolution network for recommendation",
    SIGIR 2020, equations 3 and 4 with one layer and equal weights, as released with MicroLens
    (arXiv 2309.15379).
    """

    scale_of_users: Tensor
    scale_of_items: Tensor

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        width = config["embedding_size"]
        self.user_embedding = nn.Embedding(self.n_users, width)
        self.item_embedding = nn.Embedding(self.n_items, width)
        for table in (self.user_embedding, self.item_embedding):
            nn.init.xavier_normal_(table.weight)
        users, items = dataset.inter_feat[self.USER_ID], dataset.inter_feat[self.ITEM_ID]
        # As in the adjacency matrix of the paper, an edge counts once, however often it was an interaction.
        users, items = torch.stack([users, items], dim=1).unique(dim=0).unbind(dim=1)
        self.of_users = SparsePattern.of_edges(users, items, (self.n_users, self.n_items))
        self.of_items = SparsePattern.of_edges(items, users, (self.n_items, self.n_users))
        for side in ("users", "items"):
            degree = getattr(self, f"of_{side}").degree().double()
            self.register_buffer(f"scale_of_{side}", degree.clamp(min=1).rsqrt().float(), persistent=False)

    def vectors_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        by_users = _sums(self.of_users, users, self.item_embedding.weight, self.scale_of_items)
        by_items = _sums(self.of_items, items, self.user_embedding.weight, self.scale_of_users)
        of_users = self.user_embedding(users) + self.scale_of_users[users].unsqueeze(1) * by_users
        of_items = self.item_embedding(items) + self.scale_of_items[items].unsqueeze(1) * by_items
        return of_users / 2, of_items / 2


def _sums(pattern: SparsePattern, rows: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """The sums of some rows' neighbours, each times its scale, [R, d]."""
    neighbours, start = pattern.entries_of(rows)
    return F.embedding_bag(
        neighbours, table, start, mode="sum", per_sample_weights=scale[neighbours], include_last_offset=True
    )
