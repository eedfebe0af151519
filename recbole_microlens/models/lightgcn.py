"""LightGCN of the paper's tables: one hop over the graph of training pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.models.collaborative import CollaborativeModel


class LightGCNID(CollaborativeModel):
    """The mean of a node's embedding and of one hop over ``D^-1/2 A D^-1/2``, and the dot product of the two.

    A batch computes the hop of its own users and items alone, as weighted sums of rows: nothing of size
    [edges, d] exists, and no other node's hop is computed.

    Source: He et al., "LightGCN: simplifying and powering graph convolution network for recommendation",
    SIGIR 2020, equations 3 and 4 with one layer and equal weights, as released with MicroLens
    (arXiv 2309.15379).
    """

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
        degree_of_user = torch.bincount(users, minlength=self.n_users)
        degree_of_item = torch.bincount(items, minlength=self.n_items)
        weights = (degree_of_user[users].double() * degree_of_item[items]).rsqrt().float()
        for name, rows, columns, degrees in (
            ("of_users", users, items, degree_of_user),
            ("of_items", items, users, degree_of_item),
        ):
            order = rows.argsort(stable=True)
            self.register_buffer(f"start_{name}", F.pad(degrees.cumsum(0), (1, 0)), persistent=False)
            self.register_buffer(f"neighbours_{name}", columns[order], persistent=False)
            self.register_buffer(f"weights_{name}", weights[order], persistent=False)

    def vectors_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        of_users = self.user_embedding(users) + self._hop("of_users", users, self.item_embedding.weight)
        of_items = self.item_embedding(items) + self._hop("of_items", items, self.user_embedding.weight)
        return of_users / 2, of_items / 2

    def _hop(self, name: str, rows: Tensor, table: Tensor) -> Tensor:
        """The weighted sums of the neighbours of some rows, [R, d]."""
        start, neighbours = getattr(self, f"start_{name}"), getattr(self, f"neighbours_{name}")
        weights = getattr(self, f"weights_{name}")
        counts = start[rows + 1] - start[rows]
        offsets = counts.cumsum(0) - counts
        edges = torch.arange(int(counts.sum()), device=rows.device)
        edges += (start[rows] - offsets).repeat_interleave(counts)
        return F.embedding_bag(
            neighbours[edges], table, offsets, mode="sum", per_sample_weights=weights[edges]
        )
