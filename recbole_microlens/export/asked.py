"""For whom a model is asked: users by id or histories, as the fields that RecBole's models read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_microlens.data.sequences import UserItems, windows
from recbole_microlens.export.catalogue import Users

TIMES = ("now", "test")


@dataclass(frozen=True)
class Asked:
    """Some users and what each has seen.

    Attributes
    ----------
    users : Tensor [B], int64
        Internal ids; 0 where only the history is known.
    seen : UserItems
        The items of row b, oldest first, by internal id.
    """

    users: Tensor
    seen: UserItems

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> Tensor:
        """Items of each history, [B] int64."""
        return self.seen.start.diff()

    def rows(self, which: Tensor) -> Asked:
        """Some of them, by row [b]."""
        lengths = self.lengths[which]
        _, items = self.seen.before(which, lengths)
        return Asked(self.users[which], _flat(items, lengths))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Everything seen, as (row, item) pairs, flat."""
        return self.seen.all_of(torch.arange(len(self)))

    def interaction(self, config) -> Interaction:
        """The fields that a model scores by: the user, and the latest items [B, L], padded on the right."""
        width, item = config["MAX_ITEM_LIST_LENGTH"], config["ITEM_ID_FIELD"]
        lengths = self.lengths.clamp(max=width)
        (sequences,) = windows([self.seen.items], [(width,)], self.seen.start[1:], lengths)
        return Interaction(
            {
                config["USER_ID_FIELD"]: self.users,
                item + config["LIST_SUFFIX"]: sequences,
                config["ITEM_LIST_LENGTH_FIELD"]: lengths,
                item: torch.ones_like(self.users),  # a target, which the losses of some models read
            }
        )


def asked_by_users(users: Users, rows: Tensor, at: str) -> Asked:
    """Users by internal id [B], with what they have seen.

    Parameters
    ----------
    at : {'now', 'test'}
        All of it, or what came before the first test target.
    """
    lengths = (users.count if at == "now" else users.before_test)[rows]
    _, items = users.seen.before(rows, lengths)
    return Asked(rows, _flat(items, lengths))


def asked_by_histories(histories: Sequence[Sequence[int]]) -> Asked:
    """Histories of internal ids, oldest first."""
    lengths = torch.tensor([len(history) for history in histories], dtype=torch.int64)
    items = torch.tensor([item for history in histories for item in history], dtype=torch.int64)
    return Asked(torch.zeros(len(histories), dtype=torch.int64), _flat(items, lengths))


def _flat(items: Tensor, lengths: Tensor) -> UserItems:
    return UserItems(items, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
