"""Training samples whose history is all other training items of the user, later ones too."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_microlens.data.dataset import HISTORY_LENGTH, SequentialProtocolDataset
from recbole_microlens.errors import MicroLensError


class OtherItemsDataset(SequentialProtocolDataset):
    """Mixin for models that know a user by a set of items: each training interaction is the target once.

    The input is the user's other training interactions, the latest ``MAX_ITEM_LIST_LENGTH`` of them in their
    order, whether before or after the target. An interaction is left out by its place: an item that a user
    has twice stays in the input when the other one is the target. Validation and test samples are RecBole's.
    The training dataset has ``popularity``: training interactions of each item, [n_items].
    """

    popularity: Tensor

    def _finish(self, parts: list) -> None:
        train, *held_out = parts
        if len(train) == 0:
            raise MicroLensError(
                f"dataset {self.dataset_name}: no user has two training interactions besides the validation "
                "and test targets. Use more data."
            )
        train.popularity = self.train_counts(train.inter_feat)
        train.inter_feat = self._each_with_the_others(train.inter_feat)
        super()._finish(held_out)

    def _each_with_the_others(self, samples: Interaction) -> Interaction:
        """From RecBole's training samples to one of every training interaction.

        RecBole has none of a user's first; a list field holds the number of the target's row until the
        sequences are filled in.
        """
        columns = self._sequence_columns
        any_list = next(name for name in columns if name in samples)
        users = samples[self.uid_field]
        first = self.user_items.start[users.unique()]
        rows = torch.cat([samples[any_list], first]).sort().values  # of all training interactions
        users = self._users_of(rows)
        start, total = self._first_of_user(users), torch.bincount(users)[users]
        place = torch.arange(len(rows)) - start
        others, length = other_places(place, total, self.max_item_list_len)
        padding = torch.cat([rows, rows.new_full((1,), -1)])
        rows_of_others = padding[torch.where(others < 0, len(rows), start.unsqueeze(1) + others)]

        made = {self.uid_field: users, self.item_list_length_field: length, HISTORY_LENGTH: length}
        for list_field, column in columns.items():
            field = list_field.removesuffix(self.config["LIST_SUFFIX"])
            if field in samples:
                made[field] = column[rows]
            if list_field in samples:
                is_other = (rows_of_others >= 0).view(*rows_of_others.shape, *[1] * (column.ndim - 1))
                made[list_field] = torch.where(is_other, column[rows_of_others], 0)
        return Interaction(made)

    def _users_of(self, rows: Tensor) -> Tensor:
        return torch.searchsorted(self.user_items.start, rows, right=True) - 1

    def _first_of_user(self, users: Tensor) -> Tensor:
        """The index at which each user's run begins; users are sorted."""
        return torch.searchsorted(users, users)


def other_places(place: Tensor, total: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Places of a user's other interactions, the latest ones, oldest first.

    Parameters
    ----------
    place, total : Tensor [N], int64
        An interaction's place among its user's, from 0 on, and how many these are.
    most : int
        How many to give at most.

    Returns
    -------
    Tensor [N, most], int64
        -1 behind the last one.
    Tensor [N], int64
        How many there are.
    """
    is_recent = place >= total - 1 - most
    begin = (total - most - is_recent.long()).clamp(min=0).unsqueeze(1)
    others = begin + torch.arange(most)
    others = others + (is_recent.unsqueeze(1) & (others >= place.unsqueeze(1)))
    length = (total - 1).clamp(max=most)
    return torch.where(torch.arange(most) < length.unsqueeze(1), others, -1), length
