"""The media of some items, as it travels from the loader's workers to the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ItemMedia:
    """Distinct items and their pixels.

    Attributes
    ----------
    item_ids : [U] int64, distinct, without padding.
    pixels : [U, T, S, S, 3] uint8.
    """

    item_ids: Tensor
    pixels: Tensor

    def to(self, device: torch.device | str) -> ItemMedia:
        """Copy to a device; asynchronous from pinned memory."""
        return ItemMedia(
            self.item_ids.to(device, non_blocking=True), self.pixels.to(device, non_blocking=True)
        )

    def pin_memory(self) -> ItemMedia:
        """Called by a ``DataLoader`` that pins its batches."""
        return ItemMedia(self.item_ids.pin_memory(), self.pixels.pin_memory())
