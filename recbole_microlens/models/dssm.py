"""DSSM of the paper's tables: two towers over ids, and the same with features of the item (DSSM_ID+V)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.data.readers.features import feature_table
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.collaborative import CollaborativeModel


class DSSMID(CollaborativeModel):
    """DSSM on ids: a tower for the user, one for the item, and the dot product of the two.

    Source: Huang et al., "Learning deep structured semantic models for web search using clickthrough data",
    CIKM 2013; as released with MicroLens (arXiv 2309.15379), where the towers have no hidden layers. With
    ``mlp_hidden_size`` each is dropout, linear, batch norm and tanh a layer.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        width = config["embedding_size"]
        self.user_embedding = nn.Embedding(self.n_users, width)
        self.item_embedding = nn.Embedding(self.n_items, width)
        widths = [width, *(config["mlp_hidden_size"] or ())]
        self.user_tower, self.item_tower = (_tower(widths, config["dropout_prob"]) for _ in range(2))
        self.apply(_xavier_normal)

    def vectors_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        return self.user_tower(self.user_embedding(users)), self.item_tower(self.item_embedding(items))


class DSSMIDV(CollaborativeModel):
    """DSSM_ID+V: half of a vector by id, half from the item's features.

    The score of user u and item i is ``[u; u'] . [i; W f]``: each half is d / 2 wide, W has no bias, f are
    frozen features (those of several modalities side by side). W has a learning rate of its own,
    ``projection_learning_rate``.

    ``as_published`` adds what the released code ranks with: a bias ``w . f`` that no loss trains, a random
    number for each item. (The class is named VBPR there, after He and McAuley, AAAI 2016.)

    Source: the code released with MicroLens (arXiv 2309.15379), Table 2.
    """

    suffix = "IDV"
    item_modality = ("id", "video")

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        width = config["embedding_size"]
        if width % 2:
            raise MicroLensError(
                f"embedding_size: {width} cannot be halved into ids and features. Set an even one."
            )
        self.projection_learning_rate = config["projection_learning_rate"]
        features = [feature_table(config, name, dataset) for name in self.item_modality if name != "id"]
        self.register_buffer("features", torch.cat(features, dim=1), persistent=False)
        self.user_id_embedding = nn.Embedding(self.n_users, width // 2)
        self.item_id_embedding = nn.Embedding(self.n_items, width // 2)
        self.user_modal_embedding = nn.Embedding(self.n_users, width // 2)
        self.feature_projection = nn.Linear(self.features.size(1), width // 2, bias=False)
        self.bias_projection = (
            nn.Linear(self.features.size(1), 1, bias=False) if config["as_published"] else None
        )
        self.apply(_xavier_normal)

    def vectors_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        of_users = torch.cat([self.user_id_embedding(users), self.user_modal_embedding(users)], dim=1)
        projected = self.feature_projection(self.features[items])
        return of_users, torch.cat([self.item_id_embedding(items), projected], dim=1)

    def user_and_item_tables(self) -> tuple[Tensor, Tensor]:
        users, items = super().user_and_item_tables()
        if self.bias_projection is None:
            return users, items
        bias = self.bias_projection(self.features)  # [n_items, 1]
        return torch.cat([users, torch.ones_like(users[:, :1])], dim=1), torch.cat([items, bias], dim=1)

    def parameter_groups(self) -> list[dict]:
        """The projection with its own learning rate, and all else."""
        projection = list(self.feature_projection.parameters())
        own = {id(parameter) for parameter in projection}
        others = [parameter for parameter in self.parameters() if id(parameter) not in own]
        return [{"params": others}, {"params": projection, "lr": self.projection_learning_rate}]


class _BatchNorm(nn.BatchNorm1d):
    """As torch's; a batch of one row, which has no variance, is normalised by the running statistics."""

    def forward(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) == 1:
            return F.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(rows)


def _tower(widths: list[int], dropout: float) -> nn.Sequential:
    layers = [
        nn.Sequential(nn.Dropout(dropout), nn.Linear(*pair), _BatchNorm(pair[1]), nn.Tanh())
        for pair in pairwise(widths)
    ]
    return nn.Sequential(*layers)


def _xavier_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding | nn.Linear):
        nn.init.xavier_normal_(module.weight)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
