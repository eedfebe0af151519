"""Sequences, splits and histories by array operations: what RecBole loops over users for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recbole_microlens import compat

compat.fix_recbole()
from recbole.data.interaction import Interaction  # noqa: E402


@dataclass(frozen=True)
class UserItems:
    """Every user's items in order, flat.

    Attributes
    ----------
    items : [interactions] int64, sorted by user (and time, where the order matters).
    start : [n_users + 1] int64; the items of user u are ``items[start[u]:start[u + 1]]``.
    """

    items: Tensor
    start: Tensor

    @classmethod
    def of(cls, users: Tensor, items: Tensor, n_users: int) -> UserItems:
        """From (user, item) pairs, [interactions] each, that are sorted by user."""
        counts = torch.bincount(users, minlength=n_users)
        return cls(items, torch.cat([counts.new_zeros(1), counts.cumsum(0)]))

    def before(self, users: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The first ``lengths[b]`` items of user ``users[b]`` as (row b, item) pairs, flat.

        Parameters
        ----------
        users, lengths : [B] int64.
        """
        rows = torch.repeat_interleave(torch.arange(len(users)), lengths)
        first = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        within = torch.arange(len(rows)) - first
        return rows, self.items[self.start[users][rows] + within]

    def all_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """All items of user ``users[b]`` as (row b, item) pairs, flat."""
        return self.before(users, self.start[users + 1] - self.start[users])


class Windows:
    """Windows over rows that are sorted by user and time: for each sample the rows before its target.

    Parameters
    ----------
    targets, lengths : [N] int64; the window of sample n is the ``lengths[n]`` rows before row ``targets[n]``.
    width : of every window; shorter ones are padded behind.
    total : number of rows.
    """

    def __init__(self, targets: Tensor, lengths: Tensor, width: int, total: int):
        place = torch.arange(width)
        rows = (targets - lengths).unsqueeze(1) + place
        self.rows = rows.masked_fill_(place >= lengths.unsqueeze(1), total)  # [N, width]

    def of(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The values in each window, zeros behind.

        Parameters
        ----------
        values : [total, ...].
        shape : of one window, its width first; a value is broadcast to the rest.

        Returns
        -------
        [N, *shape], of the type of ``values``.
        """
        padded = torch.cat([values, values.new_zeros(1, *values.shape[1:])])
        # All rows are in range; "clip" only spares NumPy the check, which takes longer than the rest.
        found = torch.from_numpy(padded.numpy().take(self.rows.numpy(), axis=0, mode="clip"))
        return found.expand(len(found), *shape).contiguous()


def leave_one_out(groups: np.ndarray, held_out: int) -> list[np.ndarray]:
    """Rows for training, and for each of ``held_out`` parts one row of every group that is long enough.

    As ``Dataset._split_index_by_leave_one_out`` of RecBole: the last row of a group goes to the last part,
    the row before it to the part before, but a group's first row always trains. Groups come in the order in
    which they first occur, rows of a group in theirs.

    Parameters
    ----------
    groups : [rows] int, the group of each row.

    Returns
    -------
    ``held_out + 1`` arrays of row numbers, training first.
    """
    if len(groups) == 0:
        return [np.empty(0, dtype=np.int64)] * (held_out + 1)
    by_group = np.argsort(groups, kind="stable")
    same_group = groups[by_group][1:] == groups[by_group][:-1]
    position = position_in_group(same_group)
    from_end = position_in_group(same_group[::-1])[::-1]
    first_row = by_group[np.arange(len(groups)) - position]  # of the group that row by_group[i] is in
    by_appearance = np.argsort(first_row, kind="stable")
    rows, position, from_end = by_group[by_appearance], position[by_appearance], from_end[by_appearance]
    is_held_out = (from_end < held_out) & (position > 0)
    part = np.where(is_held_out, held_out - from_end, 0)
    return [rows[part == number] for number in range(held_out + 1)]


def position_in_group(same_as_previous: np.ndarray) -> np.ndarray:
    """Positions 0, 1, 2, ... within runs; ``same_as_previous[i]``: row i + 1 continues the run of row i."""
    index = np.arange(len(same_as_previous) + 1)
    starts = np.where(np.concatenate([[True], ~same_as_previous]), index, 0)
    return index - np.maximum.accumulate(starts)


def take(interaction: Interaction, rows: Tensor) -> Interaction:
    """The given rows, copied; RecBole's own indexing by a tensor goes through a Python list."""
    return Interaction({field: values[rows] for field, values in interaction.interaction.items()})
