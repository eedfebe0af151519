"""Baselines that know a user by id and score an item by the product of two vectors."""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import GeneralRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_microlens.losses import log_popularity, pair_softmax
from recbole_microlens.models.baseline_model import Baseline


class CollaborativeModel(Baseline, GeneralRecommender):
    """A baseline with a vector for each user and each item, trained on (user, item) pairs.

    A subclass gives :meth:`vectors_of`, and :meth:`user_and_item_tables` where the tables are not those
    vectors of all ids. The loss is the in-batch softmax over pairs; a subclass may have another.

    Parameters
    ----------
    config, dataset : Config, Dataset
        As RecBole's models take them; the training dataset.
    """

    input_type = InputType.POINTWISE
    log_popularity: Tensor

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self._tables: tuple[Tensor, Tensor] | None = None
        counts = torch.bincount(dataset.inter_feat[self.ITEM_ID], minlength=self.n_items)
        self.register_buffer("log_popularity", log_popularity(counts), persistent=False)

    def vectors_of(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The vectors of some users and of some items.

        Parameters
        ----------
        users, items : Tensor [U], [I], int64
            Internal ids.

        Returns
        -------
        tuple[Tensor, Tensor]
            [U, d] and [I, d].
        """
        raise NotImplementedError

    def user_and_item_tables(self) -> tuple[Tensor, Tensor]:
        """The vectors of all users [n_users, d] and items [n_items, d], whose product is the score."""
        device = self.log_popularity.device
        users, items = (torch.arange(count, device=device) for count in (self.n_users, self.n_items))
        return self.vectors_of(users, items)

    def calculate_loss(self, interaction) -> Tensor:
        """The in-batch softmax: each pair's item among the items of all pairs, see
        :func:`~recbole_microlens.losses.pair_softmax`.

        Parameters
        ----------
        interaction : Interaction
            (user, item) pairs of the training data, [B] each.
        """
        items = interaction[self.ITEM_ID]
        user_vectors, item_vectors = self.vectors_of(interaction[self.USER_ID], items)
        return pair_softmax(user_vectors, item_vectors, items, self.log_popularity)

    def predict(self, interaction) -> Tensor:
        """The scores of (user, item) pairs, [B]."""
        users, items = self._tables_of_evaluation()
        return (users[interaction[self.USER_ID]] * items[interaction[self.ITEM_ID]]).sum(dim=1)

    def full_sort_predict(self, interaction) -> Tensor:
        """The scores of all items for some users, [B * n_items]."""
        users, items = self._tables_of_evaluation()
        return (users[interaction[self.USER_ID]] @ items.T).view(-1)

    def train(self, mode: bool = True):
        """As torch's. Either mode drops the tables, which hold as long as the weights stay."""
        self._tables = None
        return super().train(mode)

    def _tables_of_evaluation(self) -> tuple[Tensor, Tensor]:
        if self._tables is None:
            self._tables = self.user_and_item_tables()
        return self._tables
