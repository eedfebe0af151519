"""The content of some items, as it travels from the loader's workers to the towers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.partly_cached import PartlyCached

Content = Tensor | TrunkOutput | PartlyCached


@dataclass(frozen=True)
class ItemMedia:
    """Distinct items and what their towers look at.

    Attributes
    ----------
    item_ids : Tensor [U], int64
        Distinct, without padding.
    content : dict[str, Content]
        By modality, a row each of the U items. ``video``: uint8 [U, T, S, S, 3]; ``image``: uint8
        [U, S, S, 3]; ``text``: int32 [U, 2, tokens], token ids and attention mask; ``audio``: int16
        [U, W, L], samples of W windows with zeros behind a shorter one. A ``TrunkOutput`` of U
        items stands for them where it comes from a cache, a ``PartlyCached`` where that holds some of them. A
        modality that its tower looks up by id is left out.
    """

    item_ids: Tensor
    content: dict[str, Content]

    def tensors(self) -> list[Tensor]:
        """The ids and all tensors of the content."""
        parts = ((part,) if isinstance(part, Tensor) else part.tensors for part in self.content.values())
        return [self.item_ids, *(tensor for part in parts for tensor in part)]

    def to(self, device: torch.device | str) -> ItemMedia:
        """Copy to a device; asynchronous from pinned memory."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> ItemMedia:
        """Called by a ``DataLoader`` that pins its batches."""
        return self._each(lambda part: part.pin_memory())

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
        return [self._each(lambda part, a=a, b=b: part[a:b]) for a, b in pairwise(ends)]

    def _each(self, change: Callable[[Content], Content]) -> ItemMedia:
        content = {name: change(part) for name, part in self.content.items()}
        return ItemMedia(change(self.item_ids), content)
