"""GRCN: features say how much each edge of the graph counts, and ids spread along the refined graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.models.graph import Hop, rows
from recbole_microlens.models.graph_model import GraphModel, mean_square, unit_rows
from recbole_microlens.models.sparse import (
    SparsePattern,
    edge_products,
    softmax_over_edges,
    sum_over_edges,
)

ROUTINGS = 3


class GRCNIDV(GraphModel):
    """GRCN on ids and frozen features of the video, by the equations of the code that MicroLens refers to.

    For each modality, with p a learned vector of each user and f the features::

        f = normalise(LeakyReLU(W f + b)),  p = normalise(p)
        three times:  p = normalise(p + sum over the user's items of a f),  a = softmax over them of <p, f>
        x = [p ; f],  a = softmax over a node's neighbours j of <x_i, x_j>,  content = x + sum of a x_j

    The weight of the edge from j to i is w_ij = ReLU(max over the modalities of a_ij c_j), with a learned
    confidence c of each node in each modality. With e the normalised id embeddings, ids = e + w e + w w e. A
    node's representation is [ids ; content of each modality]. The loss is BPR, plus ``reg_weight`` times the
    mean squares of the batch's id embeddings, of all p and of the batch's p (means over the modalities).

    With ``as_published``, routing changes nothing: in the code its edges run from users to items, and the
    sums are read at the users. The text routes items to users.

    Source: Wei et al., "Graph-refined convolutional network for multimedia recommendation with implicit
    feedback", ACM MM 2020, sections 3.1 to 3.3; arXiv 2309.15379, Table 2.
    """

    suffix = "IDV"
    item_modality: tuple[str, ...] = ("id", "video")
    steps = 2

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        nodes = self.n_users + self.n_items
        self.routings = 0 if config["as_published"] else ROUTINGS
        self.id_embedding = nn.Parameter(torch.empty(nodes, self.width))
        self.item_vector = self.item_vectors(config, dataset, self.width)
        self.preference = nn.ParameterDict(
            {modality: torch.empty(self.n_users, self.width) for modality in self.item_vector}
        )
        self.confidence = nn.Parameter(torch.empty(nodes, len(self.item_vector)))
        for parameter in (self.id_embedding, *self.preference.values(), self.confidence):
            nn.init.xavier_normal_(parameter)
        users, items = dataset.inter_feat[self.USER_ID], dataset.inter_feat[self.ITEM_ID]
        self.items_of_users = SparsePattern.of_edges(users, items, (self.n_users, self.n_items))

    def representation(self, hops: list[Hop]) -> Tensor:
        far, near = hops
        users, items = self.ids_of(far.sources)
        contents, far_shares, near_shares = [], [], []
        for modality in self.item_vector:
            x = self._features_and_preferences(modality, users, items)  # [S, width]
            x_near = rows(x, far.own)
            far_shares.append(_attention(far, x))
            near_shares.append(far_shares[-1] if near.pattern is far.pattern else _attention(near, x_near))
            contents.append(rows(x_near, near.own) + sum_over_edges(near.pattern, x_near, near_shares[-1]))
        ids = unit_rows(rows(self.id_embedding, far.sources))
        once = sum_over_edges(far.pattern, ids, self._weights(far, far_shares))
        twice = sum_over_edges(near.pattern, once, self._weights(near, near_shares))
        own = rows(rows(ids, far.own) + once, near.own)
        return torch.cat([own + twice, *contents], dim=1)

    def _features_and_preferences(self, modality: str, users: Tensor | None, items: Tensor | None) -> Tensor:
        """x = [p ; f] of some users and items, after the routing."""
        features = unit_rows(F.leaky_relu(self.item_vector[modality]()))
        preference = unit_rows(rows(self.preference[modality], users))
        pattern = self.items_of_users
        if users is not None and self.routings:
            pattern = pattern.rows_of(users)
        for _ in range(self.routings):
            share = softmax_over_edges(pattern, edge_products(pattern, preference, features))
            preference = unit_rows(preference + sum_over_edges(pattern, features, share))
        return torch.cat([preference, rows(features, items)])

    def _weights(self, hop: Hop, shares: list[Tensor]) -> Tensor:
        """How much each edge counts, [E], by its share [E] in each modality and its source's confidence."""
        confidence = rows(self.confidence, hop.sources)
        of_modalities = [
            share * column.index_select(0, hop.pattern.column)
            for share, column in zip(shares, confidence.unbind(dim=1), strict=True)
        ]
        return F.relu(torch.stack(of_modalities).amax(dim=0))

    def penalty(self, users: Tensor, items: Tensor) -> Tensor:
        of_preference = [
            mean_square(table[1:]) + mean_square(table.index_select(0, users))
            for table in self.preference.values()
        ]
        return self.squared_ids(users, items) + torch.stack(of_preference).mean()


class GRCNID(GRCNIDV):
    """GRCN without features: a learned table takes the place of W f + b.

    No code of this row of the paper's table was published, and its text does not say what it is; this is what
    the package takes it for.
    """

    suffix = "ID"
    item_modality = ("id",)


def _attention(hop: Hop, x: Tensor) -> Tensor:
    """The share of each edge [E] among those of its target, by the products of the vectors of both ends."""
    return softmax_over_edges(hop.pattern, edge_products(hop.pattern, rows(x, hop.own), x))
