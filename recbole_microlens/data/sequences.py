"""Sequences, splits and histories by array operations: what RecBole loops over users for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_microlens.cpu.radix_sort import stable_argsort

HISTORY_LENGTH = "history_length"  # the column of how many interactions a user has before the target
_BLOCK = 1 << 14  # windows made at once, so that their row numbers stay in the processor's cache


@dataclass(frozen=True)
class UserItems:
    """Every user's items in order, flat.

    Attributes
    ----------
    items : Tensor [interactions], int64
        Sorted by user (and time, where the order matters).
    start : Tensor [n_users + 1], int64
        The items of user u are ``items[start[u]:start[u + 1]]``.
    times : Tensor [interactions], int32, optional
        Seconds since the user's first interaction, where a model reads them.
    """

    items: Tensor
    start: Tensor
    times: Tensor | None = None

    @classmethod
    def of(cls, users: Tensor, items: Tensor, n_users: int, times: Tensor | None = None) -> UserItems:
        """From (user, item) pairs, [interactions] each, that are sorted by user."""
        counts = torch.bincount(users, minlength=n_users)
        return cls(items, torch.cat([counts.new_zeros(1), counts.cumsum(0)]), times)

    def before(self, users: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The first ``lengths[b]`` items of user ``users[b]`` as (row b, item) pairs, flat.

        Parameters
        ----------
        users, lengths : Tensor [B], int64
        """
        rows, places = self._places(users, lengths)
        return rows, self.items[places]

    def first_of(self, users: Tensor, lengths: Tensor) -> UserItems:
        """The first ``lengths[b]`` items of user ``users[b]``, which becomes user b; int64 [B] both."""
        _, places = self._places(users, lengths)
        start = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        return UserItems(self.items[places], start, None if self.times is None else self.times[places])

    def _places(self, users: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        rows = torch.repeat_interleave(torch.arange(len(users)), lengths)
        first = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        within = torch.arange(len(rows)) - first
        return rows, self.start[users][rows] + within

    def all_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """All items of user ``users[b]`` as (row b, item) pairs, flat."""
        return self.before(users, self.start[users + 1] - self.start[users])

    def count_items(self, n_items: int) -> Tensor:
        """Interactions of each item, [n_items] int64."""
        return torch.bincount(self.items, minlength=n_items)

    def in_memory(self) -> UserItems:
        """The same, as plain tensors."""
        return self


def windows(
    columns: list[Tensor], shapes: list[tuple[int, ...]], targets: Tensor, lengths: Tensor
) -> list[Tensor]:
    """The values of each column before each target, oldest first, zeros behind.

    Parameters
    ----------
    columns : list[Tensor]
        Each [interactions, ...], sorted by user and time.
    shapes : list[tuple[int, ...]]
        Of one window of each column: the width, the same for all, and the shape of a value.
    targets, lengths : Tensor [N], int64
        A window is the ``lengths[n]`` rows before row ``targets[n]``.

    Returns
    -------
    list[Tensor]
        [N, *shape] for each column, of its type.
    """
    padded = [torch.cat([column, column.new_zeros(1, *column.shape[1:])]).numpy() for column in columns]
    width, padding = shapes[0][0], len(padded[0]) - 1
    found = [np.empty((len(targets), width, *column.shape[1:]), column.dtype) for column in padded]
    place = np.arange(width)
    for start in range(0, len(targets), _BLOCK):
        block = slice(start, start + _BLOCK)
        length = lengths[block].numpy()[:, None]
        rows = np.where(place < length, targets[block].numpy()[:, None] - length + place, padding)
        for column, out in zip(padded, found, strict=True):
            _take(column, rows, out[block])
    tensors = map(torch.from_numpy, found)
    return [
        tensor.expand(len(targets), *shape).contiguous()
        for tensor, shape in zip(tensors, shapes, strict=True)
    ]


def leave_one_out(groups: np.ndarray, held_out: int, first_trains: bool = True) -> list[np.ndarray]:
    """Rows for training, and for each of ``held_out`` parts one row of every group that is long enough.

    As ``Dataset._split_index_by_leave_one_out`` of RecBole: the last row of a group goes to the last part,
    the row before it to the part before, but a group's first row always trains. Groups come in the order in
    which they first occur, rows of a group in theirs.

    Parameters
    ----------
    groups : np.ndarray [rows], int
        The group of each row.
    first_trains : bool, default True
        Whether a group's first row does, even if there is no other.

    Returns
    -------
    list[np.ndarray]
        ``held_out + 1`` arrays of row numbers, training first.
    """
    if len(groups) == 0:
        return [np.empty(0, dtype=np.int64)] * (held_out + 1)
    by_group = stable_argsort(groups)
    same_group = groups[by_group][1:] == groups[by_group][:-1]
    position = position_in_group(same_group)
    from_end = position_in_group(same_group[::-1])[::-1]
    first_row = by_group[np.arange(len(groups)) - position]  # of the group that row by_group[i] is in
    by_appearance = stable_argsort(first_row)
    rows, position, from_end = by_group[by_appearance], position[by_appearance], from_end[by_appearance]
    is_held_out = (from_end < held_out) & (position >= int(first_trains))
    part = np.where(is_held_out, held_out - from_end, 0)
    return [rows[part == number] for number in range(held_out + 1)]


def position_in_group(same_as_previous: np.ndarray) -> np.ndarray:
    """Positions 0, 1, 2, ... within runs; ``same_as_previous[i]``: row i + 1 continues the run of row i."""
    index = np.arange(len(same_as_previous) + 1)
    starts = np.where(np.concatenate([[True], ~same_as_previous]), index, 0)
    return index - np.maximum.accumulate(starts)


def stable_order(keys: list[np.ndarray]) -> np.ndarray:
    """Row numbers that sort by the first key, then the second, and so on; equal rows keep their order."""
    order = stable_argsort(keys[-1])
    for key in reversed(keys[:-1]):
        order = order[stable_argsort(key[order])]
    return order


def take(interaction: Interaction, rows: Tensor) -> Interaction:
    """The given rows, copied; RecBole's own indexing by a tensor goes through a Python list."""
    if hasattr(interaction, "made"):  # samples that are made when they are asked for
        return interaction.made(rows)
    columns = interaction.interaction.items()
    return Interaction(
        {field: torch.from_numpy(_take(values.numpy(), rows.numpy())) for field, values in columns}
    )


def _take(values: np.ndarray, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """``values[rows]`` for rows that are in range: the check takes longer than the rest."""
    return values.take(rows, axis=0, out=out, mode="clip")
