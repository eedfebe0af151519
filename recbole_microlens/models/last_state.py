"""Models of ours whose score is a product with the state after the last item, and their losses at it."""

from __future__ import annotations

from typing import Any

from recbole.model.abstract_recommender import SequentialRecommender
from recbole.model.loss import BPRLoss
from torch import Tensor, nn


class LastState(SequentialRecommender):
    """A sequential recommender that gives ``forward`` and an ``item_embedding``.

    Class attributes
    ----------------
    also_reads : dict[str, str]
        By name of a further argument of ``forward``, the column of a batch that it takes, where there is one.

    Parameters
    ----------
    config : Config
        ``loss_type``: BPR or CE.
    """

    also_reads: dict[str, str] = {}
    item_embedding: Any

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.loss_type = config["loss_type"]
        self.loss_fct = BPRLoss() if self.loss_type == "BPR" else nn.CrossEntropyLoss()

    def calculate_loss(self, interaction) -> Tensor:
        """RecBole's losses of the last position: BPR, or the cross-entropy over all items."""
        states, target = self._states_of(interaction), interaction[self.ITEM_ID]
        if self.loss_type == "BPR":
            positive, negative = (
                (states * self.item_embedding(items)).sum(1)
                for items in (target, interaction[self.NEG_ITEM_ID])
            )
            return self.loss_fct(positive, negative)
        return self.loss_fct(states @ self.item_embedding.weight.T, target)

    def predict(self, interaction) -> Tensor:
        """The score of one item for each user, [B]."""
        return (self._states_of(interaction) * self.item_embedding(interaction[self.ITEM_ID])).sum(1)

    def full_sort_predict(self, interaction) -> Tensor:
        """The scores of all items, [B, n_items]."""
        return self._states_of(interaction) @ self.item_embedding.weight.T

    def _states_of(self, interaction) -> Tensor:
        more = {name: interaction[key] for name, key in self.also_reads.items() if key in interaction}
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], **more)
