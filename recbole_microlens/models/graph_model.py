"""Recommenders that represent users and items by a graph of training interactions, trained with BPR."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from recbole.utils import InputType
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_microlens.data.readers.features import feature_table
from recbole_microlens.models.collaborative import CollaborativeModel
from recbole_microlens.models.graph import Hop, InteractionGraph, rows


class GraphModel(CollaborativeModel):
    """A representation of each node of the graph; the dot product of two is a score.

    A training step computes the representations of its users and items, and of other nodes what these depend
    on. An evaluation computes those of all nodes anew.

    A subclass gives :meth:`representation` and :meth:`penalty`.

    Class attributes
    ----------------
    steps : int
        How many hops away a node can be whose vector the representation depends on.
    """

    input_type = InputType.PAIRWISE
    steps: int

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.width = config["embedding_size"]
        self.reg_weight = config["reg_weight"]
        users, items = dataset.inter_feat[self.USER_ID], dataset.inter_feat[self.ITEM_ID]
        self.graph = InteractionGraph(users, items, self.n_users, self.n_items)

    def representation(self, hops: list[Hop]) -> Tensor:
        """The representations [T, width] of the targets of the last of `steps` hops."""
        raise NotImplementedError

    def penalty(self, users: Tensor, items: Tensor) -> Tensor:
        """What ``reg_weight`` weighs in the loss of a batch.

        Parameters
        ----------
        users, items : Tensor [B], [2 B], int64
            Internal ids; the items are the positives, then the negatives.

        Returns
        -------
        Tensor []
        """
        raise NotImplementedError

    def vectors_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        nodes, place = torch.cat([users, items + self.n_users]).unique(return_inverse=True)
        vectors = self.representation(self.graph.towards(nodes, self.steps))
        return vectors[place[: len(users)]], vectors[place[len(users) :]]

    def user_and_item_tables(self) -> tuple[Tensor, Tensor]:
        users, items = self.representation(self.graph.whole(self.steps)).split([self.n_users, self.n_items])
        return users, items

    def calculate_loss(self, interaction) -> Tensor:
        """BPR, the mean of -log sigmoid(score of the positive - score of the negative), and the penalty.

        Parameters
        ----------
        interaction : Interaction
            Users, an item that each has, and one drawn uniformly from those that they have not, [B] each.
        """
        users = interaction[self.USER_ID]
        items = torch.cat([interaction[self.ITEM_ID], interaction[self.NEG_ITEM_ID]])
        # First, so that its gradients, as large as the tables, are made last, when others are gone.
        penalty = self.reg_weight * self.penalty(users, items)
        user_vectors, item_vectors = self.vectors_of(users, items)
        positives, negatives = item_vectors.chunk(2)
        bpr = -F.logsigmoid((user_vectors * (positives - negatives)).sum(dim=1)).mean()
        return bpr + penalty

    def squared_ids(self, users: Tensor, items: Tensor) -> Tensor:
        """The mean of the batch's squared id embeddings, as :meth:`penalty` takes it: users' plus items'."""
        nodes = torch.cat([users, items + self.n_users])
        of_users, of_items = self.id_embedding.index_select(0, nodes).split([len(users), len(items)])
        return mean_square(of_users) + mean_square(of_items)

    def item_vectors(self, config, dataset, width: int) -> nn.ModuleDict:
        """Modules that give the items' vectors, [n_items, width]: one for each modality beside the id, a map
        of its features; where there is none, a table, under ``id``.
        """
        modalities = [modality for modality in self.item_modality if modality != "id"]
        if not modalities:
            return nn.ModuleDict({"id": ItemTable(self.n_items, width)})
        tables = {modality: feature_table(config, modality, dataset) for modality in modalities}
        return nn.ModuleDict({name: MappedFeatures(table, width) for name, table in tables.items()})

    def ids_of(self, nodes: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Which users and which items are among ascending nodes; None stands for all."""
        if nodes is None:
            return None, None
        n_users = int(torch.searchsorted(nodes, self.n_users))
        return nodes[:n_users], nodes[n_users:] - self.n_users


def mean_square(table: Tensor) -> Tensor:
    """The mean of the squares of all entries, without a table of them."""
    flat = table.flatten()
    return flat.dot(flat) / flat.numel()


def unit_rows(table: Tensor) -> Tensor:
    """Each row [n, d] divided by its length, which counts as at least 1e-12.

    As ``F.normalize``; this keeps the result alone for the backward pass.
    """
    return _UnitRows.apply(table)


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(table, dim=1, keepdim=True).clamp_min_(1e-12)
        unit = table / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        unit, length = ctx.saved_tensors
        along = torch.bmm(gradient.unsqueeze(1), unit.unsqueeze(2)).squeeze(2)  # no [n, d] of products
        return torch.addcmul(gradient, unit, along, value=-1).div_(length)


class MappedFeatures(nn.Module):
    """A linear map of frozen features of the items.

    Parameters
    ----------
    features : Tensor [n_items, dim]
    width : int
    """

    features: Tensor

    def __init__(self, features: Tensor, width: int):
        super().__init__()
        self.register_buffer("features", features, persistent=False)
        self.linear = nn.Linear(features.size(1), width)
        nn.init.xavier_normal_(self.linear.weight)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Vectors [I, width] of some items, or of all."""
        return self.linear(rows(self.features, items))


class ItemTable(nn.Module):
    """A learned vector of each item, where there are no features."""

    def __init__(self, n_items: int, width: int):
        super().__init__()
        self.table = nn.Parameter(nn.init.xavier_normal_(torch.empty(n_items, width)))

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Vectors [I, width] of some items, or of all."""
        return rows(self.table, items)
