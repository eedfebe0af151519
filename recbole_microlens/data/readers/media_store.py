"""What readers of media stores share: items by their internal ids, and what one without media gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from recbole_microlens.data.missing import MissingContent
from recbole_microlens.media.report import report_path
from recbole_microlens.media.store import MediaStore

# Modality -> what an item without media has, and what the model gets in its place.
_WORDS = {
    "video": ("no frames", "black frames"),
    "image": ("no cover", "a black image"),
    "audio": ("no sound", "silence"),
}


class StoreReader:
    """Looks items up in a media store; may be sent to worker processes.

    Parameters
    ----------
    store : MediaStore
        An open store.
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    missing : str
        What an item without media gives: ``zeros`` or ``error``.
    """

    def __init__(self, store: MediaStore, tokens: np.ndarray, missing: str):
        self.store = store
        self.tokens = tokens
        self.missing = missing

    @property
    def missing_content(self) -> MissingContent:
        modality = self.store.meta.modality
        nothing, instead = _WORDS[modality]
        return MissingContent(
            nothing,
            self.store.path,
            instead,
            remedy="Add the files and build the store again",
            report=report_path(self.store.path, modality),
        )

    def absent(self) -> np.ndarray:
        """Internal ids of the items that the store does not hold."""
        return np.array([i for i in range(1, len(self.tokens)) if str(self.tokens[i]) not in self.store], int)

    def fill(self, rows: np.ndarray, item_ids: Tensor, read: Callable[[str], Any]) -> None:
        """Put what ``read`` gives of each item into its row; that of an item without media stays as it is.

        Parameters
        ----------
        rows : np.ndarray [U, ...]
        item_ids : Tensor
            [U] int64 internal ids, without padding.
        read : callable
            ``original id -> row``, or None where the store has nothing.

        Raises
        ------
        MicroLensError
            An item has nothing, and ``missing`` is ``error``.
        """
        for row, item in enumerate(item_ids.tolist()):
            token = str(self.tokens[item])
            value = read(token)
            if value is not None:
                rows[row] = value
            elif self.missing == "error":
                raise self.missing_content.error([token])
