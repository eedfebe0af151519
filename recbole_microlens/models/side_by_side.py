"""A causal backbone several times, side by side: a user model for each modality of an item, none shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_microlens.items.modality import modalities
from recbole_microlens.models.every_position import AtRealItems, StatesAtEveryPosition


class SideBySide(SequentialRecommender):
    """Each user model reads its part of an item's embedding, and gives its part of the user's state.

    A score is the mean of the products of the parts, so one product of whole vectors, divided by their
    number, ranks.

    Parameters
    ----------
    config : Config
        ``item_modality`` names the parts; all else is read by the backbone.

    Class attributes
    ----------------
    backbone : type
        RecBole's model that is there for each part.

    Attributes
    ----------
    users : nn.ModuleDict
        By modality.
    item_embedding : nn.Embedding
        As wide as all parts together; without memory until it is replaced.
    """

    backbone: type

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        user_class = _user_class(self.backbone)
        self.users = nn.ModuleDict({name: user_class(config, dataset) for name in modalities(config)})
        self.given = GivenEmbeddings()
        width = 0
        for user in self.users.values():
            width += int(user.item_embedding.embedding_dim)
            user.item_embedding = self.given
        self.item_embedding = nn.Embedding(self.n_items, width, padding_idx=0, device="meta")

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """[B, L] item ids -> the parts' states at the last item, side by side, [B, M * d]."""
        parts = self.item_embedding(item_seq).chunk(len(self.users), dim=-1)  # M of [B, L, d]
        states = []
        for user, part in zip(self.users.values(), parts, strict=True):
            with self.given.of(part):
                states.append(user.states(item_seq, item_seq_len))
        return self.gather_indexes(torch.cat(states, dim=-1), item_seq_len - 1)

    def predict(self, interaction) -> Tensor:
        """The score of one item for each user, [B]."""
        states = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return (states * self.item_embedding(interaction[self.ITEM_ID])).sum(1) / len(self.users)

    def full_sort_predict(self, interaction) -> Tensor:
        """The scores of all items, [B, n_items]."""
        states = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return states @ self.item_embedding.weight.T / len(self.users)


class GivenEmbeddings(nn.Module):
    """Stands where a model has ``item_embedding``: what a sequence's items are is known already."""

    def __init__(self):
        super().__init__()
        self._embeddings: Tensor | None = None

    @contextmanager
    def of(self, embeddings: Tensor) -> Iterator[None]:
        """Inside the block these are the embeddings [B, L, d], whatever ids are asked for."""
        self._embeddings = embeddings
        try:
            yield
        finally:
            self._embeddings = None

    def forward(self, item_ids: Tensor) -> Tensor:
        assert self._embeddings is not None
        return self._embeddings


@cache
def side_by_side(backbone: type) -> type:
    """The class of a backbone several times; the same object for the same backbone."""
    attributes = {"__module__": __name__, "backbone": backbone}
    return type(f"SideBySide{backbone.__name__}", (SideBySide,), attributes)


@cache
def _user_class(backbone: type) -> type:
    reads = (AtRealItems,) if backbone.__name__ == "NextItNet" else ()
    return type(f"{backbone.__name__}States", (*reads, StatesAtEveryPosition, backbone), {})
