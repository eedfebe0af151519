"""LightGCN, MMGCN and GRCN by torch-geometric's MessagePassing: a vector for each edge of the graph."""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax


def with_messages(model, users: Tensor, items: Tensor):
    """A copy of one of our models that computes its representations by passing messages.

    Parameters
    ----------
    model : LightGCNID, or one of MMGCN or GRCN
    users, items : Tensor [E]
        The training pairs.
    """
    model = deepcopy(model)
    representation = _REPRESENTATIONS[type(model).__name__]
    items = items + model.n_users
    edges = torch.stack([torch.cat([items, users]), torch.cat([users, items])])

    def vectors_of(users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        vectors = representation(model, edges)
        return vectors[users], vectors[model.n_users + items]

    model.vectors_of = vectors_of
    return model


class _Mean(MessagePassing):
    def __init__(self):
        super().__init__(aggr="mean")

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.propagate(edges, x=x)


class _Weighted(MessagePassing):
    def __init__(self):
        super().__init__(aggr="add")

    def forward(self, x: Tensor, edges: Tensor, weight: Tensor) -> Tensor:
        return self.propagate(edges, x=x, weight=weight)

    def message(self, x_j: Tensor, weight: Tensor) -> Tensor:
        return weight.unsqueeze(1) * x_j


class _Attention(MessagePassing):
    def __init__(self):
        super().__init__(aggr="add")

    def forward(self, x: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        return self.propagate(edges, x=x), self.share

    def message(self, x_i: Tensor, x_j: Tensor, index: Tensor, size_i: int) -> Tensor:
        self.share = softmax((x_i * x_j).sum(dim=1), index, num_nodes=size_i)
        return self.share.unsqueeze(1) * x_j


def _lightgcn(model, edges: Tensor) -> Tensor:
    x = torch.cat([model.user_embedding.weight, model.item_embedding.weight])
    scale = torch.bincount(edges[1], minlength=len(x)).clamp(min=1).rsqrt()
    return (x + _Weighted()(x, edges, scale[edges[0]] * scale[edges[1]])) / 2


def _mmgcn(model, edges: Tensor) -> Tensor:
    found = []
    for modality, layers in model.layers.items():
        x = F.normalize(torch.cat([model.preference[modality], model.item_vector[modality]()]))
        for layer in layers:
            h = F.leaky_relu(_Mean()(layer.neighbours(x), edges))
            g = F.leaky_relu(layer.own(x)) + model.id_embedding
            x = F.leaky_relu(layer.combined(torch.cat([h, g], dim=1)))
        found.append(x)
    return torch.stack(found).mean(dim=0)


def _grcn(model, edges: Tensor) -> Tensor:
    to_users = edges[:, : edges.size(1) // 2]
    contents, weights = [], []
    for number, modality in enumerate(model.item_vector):
        features = F.normalize(F.leaky_relu(model.item_vector[modality]()))
        preference = F.normalize(model.preference[modality])
        for _ in range(model.routings):
            sums, _ = _Attention()(torch.cat([preference, features]), to_users)
            preference = F.normalize(preference + sums[: len(preference)])
        x = torch.cat([preference, features])
        sums, share = _Attention()(x, edges)
        contents.append(x + sums)
        weights.append(share * model.confidence[edges[0], number])
    weight = F.relu(torch.stack(weights).amax(dim=0))
    ids = F.normalize(model.id_embedding)
    once = _Weighted()(ids, edges, weight)
    return torch.cat([ids + once + _Weighted()(once, edges, weight), *contents], dim=1)


_REPRESENTATIONS: dict[str, Callable] = {"LightGCNID": _lightgcn, "MMGCNIDV": _mmgcn, "GRCNIDV": _grcn}
