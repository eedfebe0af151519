"""Reads what a batch needs where an activation cache holds some items: their rows, and the others' media."""

from __future__ import annotations

from torch import Tensor

from recbole_microlens.activation_cache.store import CachedRows
from recbole_microlens.items.partly_cached import PartlyCached


class PartlyCachedReader:
    """Stands for the reader of a modality; may be sent to worker processes.

    Parameters
    ----------
    rows : CachedRows
        Of some items.
    media : Reader
        Of the content of the others.
    in_memory : bool
        Whether the layer has the rows, so that only the others are read here.
    """

    def __init__(self, rows: CachedRows, media, in_memory: bool):
        self.rows = rows
        self.media = media
        self.in_memory = in_memory

    def read(self, item_ids: Tensor) -> PartlyCached:
        """The content of distinct items, [U] int64 without padding."""
        is_cached = self.rows.holds(item_ids)
        cached, rest = item_ids[is_cached], item_ids[~is_cached]
        return PartlyCached(
            is_cached,
            self.rows.read(cached) if len(cached) and not self.in_memory else None,
            self.media.read(rest) if len(rest) else None,
            self.rows.rounding,
        )
