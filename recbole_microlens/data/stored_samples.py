"""Samples of a sequence store, made when a batch asks for them: a sample is a number until then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_microlens.data.history_times import HISTORY_TIMES
from recbole_microlens.data.sequences import HISTORY_LENGTH, UserItems
from recbole_microlens.data.stored_sequences import StoredSequences
from recbole_microlens.data.stored_times import StoredTimes

_SAMPLES_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Names:
    """The columns of a sample.

    Attributes
    ----------
    user, item, time : str
    items, times : str
        Of the sequences.
    length : str
        Of the items in the sequence.
    """

    user: str
    item: str
    time: str
    items: str
    times: str
    length: str


@dataclass(frozen=True)
class Targets:
    """Which of a user's interactions are targets: each ``stride``-th, counted from the last one that may be.

    Attributes
    ----------
    skipped : Callable
        ``skipped(counts)``: how many at a user's end are none, [u], by how many interactions the user has.
    stride : int, default 1
    most : int, optional
        How many targets a user has at most.
    least : int, default 2
        Users with fewer interactions have none; a first interaction is none, as it has no history.
    """

    skipped: Callable[[np.ndarray], np.ndarray]
    stride: int = 1
    most: int | None = None
    least: int = 2

    def number(self, counts: np.ndarray) -> np.ndarray:
        """How many targets users have, [u], by how many interactions they have."""
        number = -((1 + self.skipped(counts) - counts) // self.stride)
        return np.where(counts < self.least, 0, np.clip(number, 0, self.most))

    def last(self, counts: np.ndarray) -> np.ndarray:
        """The position of a user's last target, from 0 on; -1 where there is none, [u]."""
        return np.where(self.number(counts) > 0, counts - 1 - self.skipped(counts), -1)


class StoredSamples:
    """Stands where RecBole has an ``Interaction`` of all samples.

    Asked for a column by name it makes that of all samples, and keeps it; asked for rows it makes these.

    Parameters
    ----------
    sequences : StoredSequences
    names : Names
    width : int
        Items of a sequence at most.
    targets : Targets
    order : np.ndarray [users], int32
        The users in the order of their samples.
    times : StoredTimes, optional
        Where the model reads when interactions took place.
    """

    def __init__(
        self,
        sequences: StoredSequences,
        names: Names,
        width: int,
        targets: Targets,
        order: np.ndarray,
        times: StoredTimes | None = None,
    ):
        self.sequences, self.names, self.width, self.targets = sequences, names, width, targets
        self._times = times
        self._order = order
        self._columns: dict[str, Tensor] = {}

    @cached_property
    def _layout(self) -> tuple[np.ndarray, np.ndarray | None, int]:
        """The users who have samples; where those of each end, or ``None`` where every user has one; and
        how many samples there are.
        """
        number = np.empty(len(self._order), dtype=np.int32)
        for start in range(0, len(number), _SAMPLES_AT_ONCE):
            block = slice(start, start + _SAMPLES_AT_ONCE)
            number[block] = self.targets.number(self.sequences.count[self._order[block]])
        has_any = number > 0
        users = self._order if has_any.all() else self._order[has_any]
        total = int(number.sum())
        return users, None if total == len(users) else number[has_any].cumsum(), total

    def __len__(self) -> int:
        return self._layout[2]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def __getitem__(self, index):
        if isinstance(index, str):
            return self._column(index)
        if isinstance(index, slice):
            return self.made(torch.arange(len(self))[index])
        index = torch.as_tensor(index)
        if index.dtype == torch.bool:
            index = index.nonzero()[:, 0]
        if index.ndim == 0:  # RecBole's Interaction gives one sample without its first dimension.
            one = self.made(index.unsqueeze(0))
            return Interaction({name: values[0] for name, values in one.interaction.items()})
        return self.made(index)

    @property
    def columns(self) -> list[str]:
        names = self.names
        found = [names.user, names.item, names.time, names.length, names.items, names.times, HISTORY_LENGTH]
        return found + [HISTORY_TIMES] * (self._times is not None)

    @property
    def interaction(self) -> dict[str, Tensor]:
        """All samples, by column."""
        return {name: self._column(name) for name in self.columns}

    def made(self, samples: Tensor) -> Interaction:
        """The samples with these numbers, [B] int64: each column as RecBole's sequential datasets have it."""
        makers = self._makers(samples.numpy())
        return Interaction({name: torch.from_numpy(makers[name]()) for name in self.columns})

    def _makers(self, samples: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
        """What makes each column of some samples."""
        names, found = self.names, self.sequences
        users, history = self._located(samples)
        place = found.first(users) + history
        length = np.minimum(history, self.width)

        def windows() -> tuple[np.ndarray, np.ndarray]:
            is_item = np.arange(self.width) < length[:, None]  # [B, L]
            places = (place - length)[:, None] + np.arange(self.width)
            return np.where(is_item, places, place[:, None]), is_item

        def items() -> np.ndarray:
            places, is_item = windows()
            return np.where(is_item, found.items_at(places), 0)

        def times() -> np.ndarray:
            places, is_item = windows()
            return np.where(is_item, found.positions_at(places, users[:, None]), 0).astype(np.float32)

        def real_times() -> np.ndarray:
            assert self._times is not None
            places, is_item = windows()
            return np.where(is_item, self._times.at(places, users[:, None]), 0).astype(np.int32)

        return {
            names.user: lambda: users,
            names.item: lambda: found.items_at(place),
            names.time: lambda: found.positions_at(place, users).astype(np.float32),
            names.length: lambda: length,
            names.items: items,
            names.times: times,
            HISTORY_LENGTH: lambda: history,
            HISTORY_TIMES: real_times,
        }

    def of_some_users(self, number: int, generator: torch.Generator) -> Tensor | None:
        """The samples of ``number`` users that are drawn, ascending; ``None`` where there are no more.

        For samples of which a user has one at most.
        """
        users = self._layout[0]
        distinct = np.sort(users)
        if number >= len(distinct):
            return None
        is_drawn = np.zeros(self.sequences.n_users, dtype=bool)
        is_drawn[distinct[torch.randperm(len(distinct), generator=generator)[:number].numpy()]] = True
        return torch.from_numpy(np.flatnonzero(is_drawn[users]))

    def slots(self) -> int:
        """Items in the inputs and targets of all samples, with their repeats."""
        total = len(self)
        for start in range(0, len(self), _SAMPLES_AT_ONCE):
            _, history = self._located(np.arange(start, min(start + _SAMPLES_AT_ONCE, len(self))))
            total += int(np.minimum(history, self.width).sum())
        return total

    def _located(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The user of each sample, and how many interactions that user has before the target, int64."""
        with_samples, ends, _ = self._layout
        behind: np.ndarray | int = 0  # targets of the user after this one
        if ends is None:
            at = samples
        else:
            at = np.searchsorted(ends, samples, side="right")
            behind = ends[at] - 1 - samples
        users = with_samples[at].astype(np.int64)
        counts = self.sequences.count[users].astype(np.int64)
        return users, counts - 1 - self.targets.skipped(counts) - behind * self.targets.stride

    def _column(self, name: str) -> Tensor:
        if name not in self._columns:
            starts = range(0, max(len(self), 1), _SAMPLES_AT_ONCE)
            blocks = (np.arange(start, min(start + _SAMPLES_AT_ONCE, len(self))) for start in starts)
            made = [torch.from_numpy(self._makers(block)[name]()) for block in blocks]
            self._columns[name] = torch.cat(made)
        return self._columns[name]


class StoredUserItems:
    """Every user's items in order, read from the store; see :class:`~.sequences.UserItems`."""

    def __init__(self, sequences: StoredSequences, times: StoredTimes | None = None):
        self._sequences, self._times = sequences, times

    def before(self, users: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The first ``lengths[b]`` items of user ``users[b]`` as (row b, item) pairs, flat."""
        rows = torch.repeat_interleave(torch.arange(len(users)), lengths)
        first = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        within = torch.arange(len(rows)) - first
        places = self._sequences.first(users.numpy())[rows.numpy()] + within.numpy()
        return rows, torch.from_numpy(self._sequences.items_at(places))

    def all_of(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """All items of user ``users[b]`` as (row b, item) pairs, flat."""
        return self.before(users, torch.from_numpy(self._sequences.count[users.numpy()].astype(np.int64)))

    def count_items(self, n_items: int) -> Tensor:
        """Interactions of each item, [n_items] int64."""
        return torch.from_numpy(self._sequences.item_count.copy())

    def in_memory(self) -> UserItems:
        """The same, as plain tensors."""
        _, items = self.all_of(torch.arange(self._sequences.n_users))
        counts = torch.from_numpy(self._sequences.count.astype(np.int64))
        start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return UserItems(items, start, self._all_times(start))

    def _all_times(self, start: Tensor) -> Tensor | None:
        if self._times is None:
            return None
        users = np.repeat(np.arange(self._sequences.n_users), np.diff(start.numpy()))
        within = np.arange(len(users)) - start.numpy()[users]
        return torch.from_numpy(self._times.at(self._sequences.first(users) + within, users))
