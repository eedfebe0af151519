"""MMGCN: a graph convolution for each modality, tied together by the id embeddings that each of them adds."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_microlens.models.graph import Hop, rows
from recbole_microlens.models.graph_model import GraphModel, mean_square, unit_rows
from recbole_microlens.models.sparse import mean_over_edges

ROWS = 4096  # that are computed at a time where an intermediate result is wide
SLOPE = 0.01  # of LeakyReLU below zero


class MMGCNIDV(GraphModel):
    """MMGCN on ids and frozen features of the video, by the equations of the code that MicroLens refers to.

    For each modality, with p a learned vector of each user, f the features and e the id embeddings, which the
    modalities share::

        x = normalise([p ; W f + b])
        three times:  h = LeakyReLU(W1 (mean of the neighbours' x))
                      g = LeakyReLU(W2 x + b2) + e
                      x = LeakyReLU(W3 [h ; g] + b3)

    A node's representation is the mean of its x over the modalities. The loss is BPR, plus ``reg_weight``
    times the mean squares of the batch's e and of all p (the mean over the modalities). p and W f are
    ``latent_size`` wide; the code has that for the video alone, here it is so for every modality.

    With ``as_published``, neither e nor p trains: in the code they are tensors that no optimiser knows. The
    text has them as parameters.

    Source: Wei et al., "MMGCN: Multi-modal graph convolution network for personalized recommendation of
    micro-video", ACM MM 2019, equations 2 to 6; arXiv 2309.15379, Table 2.
    """

    suffix = "IDV"
    item_modality: tuple[str, ...] = ("id", "video")
    steps = 3
    latent_size = 256

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.id_embedding = nn.Parameter(torch.empty(self.n_users + self.n_items, self.width))
        vectors = self.item_vectors(config, dataset, self.latent_size)
        self.preference = nn.ParameterDict(
            {modality: torch.empty(self.n_users, self.latent_size) for modality in vectors}
        )
        self.item_vector = vectors
        widths = [self.latent_size] + [self.width] * (self.steps - 1)
        self.layers = nn.ModuleDict(
            {modality: _Layers(_Layer(width, self.width) for width in widths) for modality in vectors}
        )
        never_trained = [self.id_embedding, *self.preference.values()]
        for parameter in never_trained:
            nn.init.xavier_normal_(parameter)
            parameter.requires_grad_(not config["as_published"])

    def representation(self, hops: list[Hop]) -> Tensor:
        ids = [rows(self.id_embedding, hop.targets) for hop in hops]
        users, items = self.ids_of(hops[0].sources)
        total = torch.zeros((), device=self.id_embedding.device)
        for modality, layers in self.layers.items():
            of_users = rows(self.preference[modality], users)
            x = unit_rows(torch.cat([of_users, self.item_vector[modality](items)]))
            total = total + layers(hops, x, ids)
        return total / len(self.layers)

    def penalty(self, users: Tensor, items: Tensor) -> Tensor:
        of_preference = [mean_square(table[1:]) for table in self.preference.values()]
        return self.squared_ids(users, items) + torch.stack(of_preference).mean()


class MMGCNID(MMGCNIDV):
    """MMGCN without features: a learned table takes the place of W f + b.

    No code of this row of the paper's table was published, and its text does not say what it is; this is what
    the package takes it for.
    """

    suffix = "ID"
    item_modality = ("id",)


class _Layers(nn.ModuleList):
    """The three layers of one modality."""

    def forward(self, hops: list[Hop], x: Tensor, ids: list[Tensor]) -> Tensor:
        for layer, hop, of_targets in zip(self, hops, ids, strict=True):
            x = layer(x, hop, of_targets)
        return x


class _Layer(nn.Module):
    """One of the three layers: what the neighbours say, what the node says, and the two together.

    W3 [h ; g] is computed as the sum of two products, so that [h ; g] need not be made.
    """

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.neighbours = nn.Linear(width_in, width_in, bias=False)
        self.own = nn.Linear(width_in, width)
        self.combined = nn.Linear(width_in + width, width)
        for linear in (self.neighbours, self.own, self.combined):
            nn.init.xavier_normal_(linear.weight)

    def forward(self, x: Tensor, hop: Hop, ids: Tensor) -> Tensor:
        """[S, width_in] of the sources -> [T, width] of the targets, whose id embeddings are [T, width].

        g stands before h, so that in the backward pass what h needs, which is more, is gone when g begins.
        """
        g = F.leaky_relu(self._own(x, hop.own), inplace=True) + ids
        of_h, of_g = self.combined.weight.split([x.size(1), g.size(1)], dim=1)
        mean = mean_over_edges(hop.pattern, x)
        by_h = _HiddenLayer.apply(mean, self.neighbours.weight, of_h)
        return F.leaky_relu(by_h + F.linear(g, of_g, self.combined.bias), inplace=True)

    def _own(self, x: Tensor, own: Tensor | None) -> Tensor:
        """W2 x + b2 of the targets; which of them first, the product or the choice, takes less memory."""
        if self.own.out_features < self.own.in_features:
            return rows(self.own(x), own)
        return self.own(rows(x, own))


class _HiddenLayer(torch.autograd.Function):
    """LeakyReLU(x A^T) B^T, some rows at a time, so that x A^T, as large as x, is never whole."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
        ctx.save_for_backward(x, inner, outer)
        result = x.new_empty(len(x), len(outer))
        for part, of_part in zip(x.split(ROWS), result.split(ROWS), strict=True):
            torch.mm(F.leaky_relu_(part @ inner.T), outer.T, out=of_part)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, inner, outer = ctx.saved_tensors
        of_x, of_inner, of_outer = torch.empty_like(x), torch.zeros_like(inner), torch.zeros_like(outer)
        for part, of_result, of_part in zip(*(t.split(ROWS) for t in (x, gradient, of_x)), strict=True):
            hidden = F.leaky_relu_(part @ inner.T)
            of_outer.addmm_(of_result.T, hidden)
            of_hidden = of_result @ outer
            of_hidden = torch.where(hidden > 0, of_hidden, SLOPE * of_hidden)
            of_inner.addmm_(of_hidden.T, part)
            torch.mm(of_hidden, inner, out=of_part)
        return of_x, of_inner, of_outer
