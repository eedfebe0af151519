"""Original user ids of a sequence store by internal id, read when they are asked for: there are millions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from recbole_microlens.release.sequence_store import SequenceStore

PADDING = "[PAD]"


class UserTokens:
    """Stands where RecBole has an array of original ids by internal id; 0 is padding.

    Parameters
    ----------
    store : SequenceStore
    row : np.ndarray [n_users], int
        The place of each user in the store, ascending; -1 for padding.
    """

    def __init__(self, store: SequenceStore, row: np.ndarray):
        self._store, self._row = store, row

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, index):
        """The id of one internal id, or an array of those of many."""
        rows = self._row[index if isinstance(index, slice) else np.asarray(index)]
        ids = self._store.user_ids(np.maximum(rows, 0).ravel())
        names = [PADDING if row < 0 else name for row, name in zip(rows.flat, ids, strict=True)]
        return np.array(names, dtype=str).reshape(rows.shape) if rows.ndim else names[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self[:])

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


class UserNumbers(Mapping):
    """Stands where RecBole has a dict from original to internal user ids."""

    def __init__(self, store: SequenceStore, row: np.ndarray):
        self._store, self._row = store, row

    def __getitem__(self, user: str) -> int:
        if user == PADDING:
            return 0
        found = self._store.row_of_user(user)
        at = 0 if found is None else int(np.searchsorted(self._row, found))
        if found is None or at == len(self._row) or self._row[at] != found:
            raise KeyError(user)
        return at

    def __len__(self) -> int:
        return len(self._row)

    def __iter__(self) -> Iterator[str]:
        return iter(UserTokens(self._store, self._row))
