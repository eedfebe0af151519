"""What the filters of a run leave of a sequence store, numbered as RecBole numbers it; nothing is copied.

A user's kept interactions stand side by side in the store: dropping users, and a user's earlier interactions,
moves where a user begins, and no row. ``min_item_interactions`` alone leaves holes; what it keeps is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm import tqdm

from recbole_microlens.cpu.radix_sort import stable_argsort
from recbole_microlens.release.sequence_store import SequenceStore

_USERS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Rows:
    """Interactions of users, user after user, each user's from the oldest on.

    Attributes
    ----------
    codes : np.ndarray [interactions], int32
        The store's code of each item.
    offsets : np.ndarray [users + 1], int64
        Where each user's begin.
    positions : np.ndarray [interactions], int32, optional
        The place of each among all of the user's, from 1 on; ``None``: they follow one another.
    earlier : np.ndarray [users], int32, optional
        How many interactions each user has before those that are here; ``None``: none.
    store : SequenceStore, optional
        Whose memory map ``codes`` is; ``None`` for a copy.
    """

    codes: np.ndarray
    offsets: np.ndarray
    positions: np.ndarray | None
    earlier: np.ndarray | None
    store: SequenceStore | None

    @classmethod
    def of(cls, store: SequenceStore) -> Rows:
        """All of a store."""
        return cls(np.asarray(store.items), store.read_offsets(), None, store.read_earlier(), store)

    def __reduce__(self):
        if self.store is not None:
            return Rows.of, (self.store,)
        return Rows, (self.codes, self.offsets, self.positions, self.earlier, None)

    @property
    def lengths(self) -> np.ndarray:
        """How many interactions each user has, those left out before included, [users] int32."""
        lengths = np.diff(self.offsets).astype(np.int32)
        if self.earlier is not None:
            lengths += self.earlier
        return lengths

    def read(self, start: int, stop: int) -> np.ndarray:
        """``codes[start:stop]``, for a pass over all."""
        return self.codes[start:stop] if self.store is None else self.store.read_items(start, stop)

    def blocks(self, progress: bool) -> Iterator[tuple[int, int, np.ndarray]]:
        """First and last user of some hundred thousand, and their item codes."""
        users = len(self.offsets) - 1
        with tqdm(
            total=users, desc="reading interactions", unit=" users", unit_scale=True, delay=2,
            disable=None if progress else True,
        ) as bar:  # fmt: skip
            for start in range(0, users, _USERS_AT_ONCE):
                stop = min(start + _USERS_AT_ONCE, users)
                yield start, stop, self.read(int(self.offsets[start]), int(self.offsets[stop]))
                bar.update(stop - start)

    def count_items(self, n_codes: int, progress: bool) -> np.ndarray:
        """Interactions of each item code, [n_codes] int64."""
        counts = np.zeros(n_codes, dtype=np.int64)
        for _, _, codes in self.blocks(progress):
            counts += np.bincount(codes, minlength=n_codes)
        return counts

    def of_items(self, is_kept: np.ndarray, progress: bool) -> Rows:
        """The interactions of some item codes, [n_codes] bool, copied; all users stay."""
        kept_codes, kept_positions, lengths = [], [], [np.zeros(1, dtype=np.int64)]
        for start, stop, codes in self.blocks(progress):
            begin = self.offsets[start : stop + 1] - self.offsets[start]
            kept = is_kept[codes]
            before = np.concatenate([[0], kept.cumsum()])
            lengths.append(np.diff(before[begin]))
            position = np.arange(1, len(codes) + 1) - np.repeat(begin[:-1], np.diff(begin))
            kept_codes.append(codes[kept])
            kept_positions.append(position[kept].astype(np.int32))
        offsets = np.concatenate(lengths).cumsum()
        return Rows(np.concatenate(kept_codes), offsets, np.concatenate(kept_positions), None, None)


@dataclass(frozen=True)
class StoredSequences:
    """Users and items by internal id, and where the interactions of each user are; 0 is padding.

    Attributes
    ----------
    rows : Rows
    row : np.ndarray [n_users], int32
        The place of each user in the store; -1 for padding.
    count : np.ndarray [n_users], int32
        How many are kept.
    item : np.ndarray [item codes], int32
        The internal id of each item code; 0 for one that no kept interaction has.
    code : np.ndarray [n_items], int32
        The item code of each internal id; -1 for padding.
    item_count : np.ndarray [n_items], int64
        Kept interactions of each item.
    """

    rows: Rows
    row: np.ndarray
    count: np.ndarray
    item: np.ndarray
    code: np.ndarray
    item_count: np.ndarray

    @classmethod
    def of(
        cls, rows: Rows, is_kept: np.ndarray, most: int | None, n_codes: int, progress: bool
    ) -> StoredSequences:
        """Number what is kept: users in the order of the store, items in that of their first interaction.

        Parameters
        ----------
        rows : Rows
        is_kept : np.ndarray [users], bool
        most : int or None
            How many of a user's interactions are kept at most, the latest.
        n_codes : int
            Items in the store.
        """
        count = np.diff(rows.offsets).astype(np.int32)
        if most is not None:
            np.minimum(count, most, out=count)
        padding = np.zeros(1, dtype=np.int32)
        count = np.concatenate([padding, count[is_kept]])
        row = np.concatenate([padding - 1, np.flatnonzero(is_kept).astype(np.int32)])
        item, code, counts = _number_items(rows, is_kept, most, n_codes, progress)
        return cls(rows, row, count, item, code, counts)

    @property
    def n_users(self) -> int:
        return len(self.row)

    @property
    def n_items(self) -> int:
        return len(self.code)

    @property
    def interactions(self) -> int:
        return int(self.item_count.sum())

    def first(self, users: np.ndarray) -> np.ndarray:
        """The place in the rows of each user's first kept interaction, int64; of users other than padding."""
        return self.rows.offsets[self.row[users] + 1] - self.count[users]

    def items_at(self, places: np.ndarray) -> np.ndarray:
        """Internal item ids at places in the rows, of any shape; int64."""
        return self.item[self.rows.codes[places]].astype(np.int64)

    def positions_at(self, places: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Places among all of a user's interactions, from 1 on: the time that RecBole sorts by; int64."""
        if self.rows.positions is not None:
            return self.rows.positions[places].astype(np.int64)
        row = self.row[users]
        positions = places - self.rows.offsets[row] + 1
        return positions if self.rows.earlier is None else positions + self.rows.earlier[row]

    @property
    def order(self) -> np.ndarray:
        """The users with a second interaction in the order of its time, as RecBole's samples are, int32.

        RecBole sorts all samples by their time, and parts of a split go by a user's first.
        """
        users = np.flatnonzero(self.count >= 2).astype(np.int32)
        times = np.empty(len(users), dtype=np.int32)
        for start in range(0, len(users), _USERS_AT_ONCE):
            block = slice(start, start + _USERS_AT_ONCE)
            times[block] = self.positions_at(self.first(users[block]) + 1, users[block])
        is_sorted = len(times) == 0 or (times == times[0]).all()
        return users if is_sorted else users[stable_argsort(times)]

    def count_at(self, positions: Sequence[Callable[[np.ndarray], np.ndarray]], progress: bool) -> np.ndarray:
        """How often each item stands at some positions of users, [n_items] int64.

        Parameters
        ----------
        positions : list of callables
            Each gives, by how many interactions users have, one position of each, from 0 on; -1 for none.
        """
        by_code = np.zeros(len(self.item), dtype=np.int64)
        for start, stop, codes in self.rows.blocks(progress):
            low, high = np.searchsorted(self.row, [start, stop])
            users = np.arange(low, high)
            first, counts = self.first(users) - self.rows.offsets[start], self.count[low:high]
            for position_of in positions:
                position = position_of(counts)
                places = (first + position)[position >= 0]
                by_code += np.bincount(codes[places], minlength=len(by_code))
        return np.concatenate([[0], by_code[self.code[1:]]])


def _number_items(
    rows: Rows, is_kept: np.ndarray, most: int | None, n_codes: int, progress: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The internal id of each code, the code of each internal id, and the kept interactions of each."""
    numbers, order, n_items = np.zeros(n_codes, dtype=np.int32), [np.array([-1])], 1
    counts = np.zeros(n_codes, dtype=np.int64)
    for start, stop, codes in rows.blocks(progress):
        kept = _kept(codes, rows.offsets[start : stop + 1], is_kept[start:stop], most)
        counts += np.bincount(kept, minlength=n_codes)
        if n_items > n_codes:  # All have a number already.
            continue
        new = pd.unique(kept[numbers[kept] == 0])
        numbers[new] = np.arange(n_items, n_items + len(new))
        n_items += len(new)
        order.append(new)
    code = np.concatenate(order).astype(np.int32)
    return numbers, code, np.concatenate([[0], counts[code[1:]]])


def _kept(codes: np.ndarray, offsets: np.ndarray, is_kept: np.ndarray, most: int | None) -> np.ndarray:
    """The item codes of kept users, of each the latest ``most``."""
    length = np.diff(offsets)
    taken = np.where(is_kept, length if most is None else np.minimum(length, most), 0)
    if (taken == length).all():
        return codes
    change = np.zeros(len(codes) + 1, dtype=np.int8)  # of whether a row is taken
    ends = offsets[1:] - offsets[0]
    some = taken > 0
    change[(ends - taken)[some]] += 1
    change[ends[some]] -= 1
    return codes[change.cumsum(dtype=np.int8)[:-1] > 0]
