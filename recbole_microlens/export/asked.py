"""For whom a model is asked: users by id or histories, as the fields that RecBole's models read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_microlens.data.history_times import HISTORY_TIMES
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
        return Asked(self.users[which], self.seen.first_of(which, self.lengths[which]))

    def without_times(self) -> Asked:
        """The same, as if it were not known when anything was seen."""
        return Asked(self.users, UserItems(self.seen.items, self.seen.start))

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Everything seen, as (row, item) pairs, flat."""
        return self.seen.all_of(torch.arange(len(self)))

    def interaction(self, config) -> Interaction:
        """The fields that a model scores by: the user, and the latest items [B, L], padded on the right."""
        width, item = config["MAX_ITEM_LIST_LENGTH"], config["ITEM_ID_FIELD"]
        lengths = self.lengths.clamp(max=width)
        columns = {item + config["LIST_SUFFIX"]: self.seen.items}
        if self.seen.times is not None:
            columns[HISTORY_TIMES] = self.seen.times
        found = windows(list(columns.values()), [(width,)] * len(columns), self.seen.start[1:], lengths)
        return Interaction(
            {
                config["USER_ID_FIELD"]: self.users,
                **dict(zip(columns, found, strict=True)),
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
    return Asked(rows, users.seen.first_of(rows, lengths))


def asked_by_histories(histories: Sequence[Sequence[int]]) -> Asked:
    """Histories of internal ids, oldest first."""
    lengths = torch.tensor([len(history) for history in histories], dtype=torch.int64)
    items = torch.tensor([item for history in histories for item in history], dtype=torch.int64)
    seen = UserItems(items, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
    return Asked(torch.zeros(len(histories), dtype=torch.int64), seen)
