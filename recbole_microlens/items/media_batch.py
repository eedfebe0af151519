"""The content of some items, as it travels from the loader's workers to the towers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

Content = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class ItemMedia:
    """Distinct items and what their towers look at.

    Attributes
    ----------
    item_ids : Tensor [U], int64
        Distinct, without padding.
    content : dict[str, Content]
        By modality, a row each of the U items. ``video``: uint8 [U, T, S, S, 3]; ``image``: uint8
        [U, S, S, 3]; ``text``: int32 [U, 2, tokens], token ids and attention mask. A tuple of tensors
        [U, ...] is the output of the encoder's trunk, from a cache. A modality that its tower looks up by id
        is left out.
    """

    item_ids: Tensor
    content: dict[str, Content]

    def to(self, device: torch.device | str) -> ItemMedia:
        """Copy to a device; asynchronous from pinned memory."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> ItemMedia:
        """Called by a ``DataLoader`` that pins its batches."""
        return self._each(Tensor.pin_memory)

    def chunks(self, size: int) -> list[ItemMedia]:
        """The items in their order, in as few parts of at most ``size`` as there can be, all equal except for
        one item. With a ``size`` of 2 no part is a single item, which BatchNorm cannot take statistics of:
        one may be of 3.
        """
        total = len(self.item_ids)
        n_chunks = max(-(-total // size), 1)
        if size > 1:
            n_chunks = max(min(n_chunks, total // 2), 1)
        ends = [total * number // n_chunks for number in range(n_chunks + 1)]
        return [self._each(lambda tensor, a=a, b=b: tensor[a:b]) for a, b in pairwise(ends)]

    def _each(self, move) -> ItemMedia:
        content = {
            name: tuple(map(move, part)) if isinstance(part, tuple) else move(part)
            for name, part in self.content.items()
        }
        return ItemMedia(move(self.item_ids), content)
