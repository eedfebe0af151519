"""When the interactions of a sequence store took place, read as samples ask for it."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from recbole_microlens.data.history_times import seconds_since_first
from recbole_microlens.data.stored_sequences import StoredSequences
from recbole_microlens.release.sequence_store import SequenceStore


class StoredTimes:
    """The times of a store that has them, by the places of its sequences.

    Parameters
    ----------
    store : SequenceStore
    sequences : StoredSequences
        Of this store.
    """

    def __init__(self, store: SequenceStore, sequences: StoredSequences):
        self._store, self._sequences = store, sequences

    def __reduce__(self):
        return StoredTimes, (self._store, self._sequences)

    def at(self, places: np.ndarray, users: np.ndarray) -> np.ndarray:
        """Seconds since the user's first kept interaction, int32.

        Parameters
        ----------
        places : np.ndarray [...], int64
            Places in the rows of the sequences.
        users : np.ndarray, int64
            Whose they are; of a shape that goes with that of ``places``.
        """
        first = self._milliseconds(self._sequences.first(users), users)
        return seconds_since_first(self._milliseconds(places, users) * 1000, first * 1000)

    def _milliseconds(self, places: np.ndarray, users: np.ndarray) -> np.ndarray:
        rows = self._sequences.rows
        if rows.positions is not None:  # some rows of the store are left out
            places = self._offsets[self._sequences.row[users]] + rows.positions[places] - 1
        assert self._store.times is not None
        return np.asarray(self._store.times[places], dtype=np.int64)

    @cached_property
    def _offsets(self) -> np.ndarray:
        return self._store.read_offsets()
