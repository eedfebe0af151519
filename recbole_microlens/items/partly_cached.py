"""The content of items of which an activation cache holds some: their rows, and the media of the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recbole_microlens.encoders.trunk_output import TrunkOutput


@dataclass(frozen=True)
class PartlyCached:
    """What a batch brings of one modality of N items.

    Attributes
    ----------
    is_cached : Tensor [N], bool
        Which items the cache holds; always on the CPU.
    rows : TrunkOutput | None
        The trunk's output of those, in their order; ``None`` where there are none, or until
        :meth:`with_rows` brings them.
    rest : Tensor | TrunkOutput | None
        Of the others, in their order, the media, or what the trunk gave for them; ``None`` where there are
        none.
    rounded : Callable[[TrunkOutput], TrunkOutput]
        Rounds a trunk's output as the cache does, so that an item has one value, cached or not.
    """

    is_cached: Tensor
    rows: TrunkOutput | None
    rest: Tensor | TrunkOutput | None
    rounded: Callable[[TrunkOutput], TrunkOutput]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        parts = [part for part in (self.rows, self.rest) if part is not None]
        inner = (part.tensors if isinstance(part, TrunkOutput) else (part,) for part in parts)
        return (self.is_cached, *(tensor for tensors in inner for tensor in tensors))

    def __len__(self) -> int:
        return len(self.is_cached)

    def __getitem__(self, items: slice) -> PartlyCached:
        start, stop, _ = items.indices(len(self))
        cached = [int(self.is_cached[:end].sum()) for end in (start, stop)]
        rest = [start - cached[0], stop - cached[1]]
        return replace(
            self,
            is_cached=self.is_cached[start:stop],
            rows=_cut(self.rows, *cached),
            rest=_cut(self.rest, *rest),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PartlyCached:
        """Copy the content to a device."""
        return self._each(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PartlyCached:
        """Copy to memory that a GPU reads asynchronously."""
        return replace(
            self._each(lambda part: part.pin_memory()),
            is_cached=self.is_cached.pin_memory(),
        )

    def with_rows(self, read: Callable[[Tensor], TrunkOutput], item_ids: Tensor) -> PartlyCached:
        """With the rows that a cache in memory gives for ids; ``item_ids``, [N], are those of all items."""
        cached = self.is_cached.nonzero()[:, 0].to(item_ids.device)
        return replace(self, rows=read(item_ids.index_select(0, cached)) if len(cached) else None)

    @torch.no_grad()
    def through(self, trunk: Callable[[Tensor], TrunkOutput]) -> PartlyCached:
        """With the trunk's output in the place of the media."""
        if not isinstance(self.rest, Tensor):
            return self
        return replace(self, rest=self.rounded(trunk(self.rest)))

    def completed(self, trunk: Callable[[Tensor], TrunkOutput]) -> TrunkOutput:
        """The trunk's output of all N items, floating-point tensors in float32."""
        rest = self.through(trunk).rest
        if rest is None:
            assert self.rows is not None  # N is at least 1
            return self.rows.float()
        assert isinstance(rest, TrunkOutput)
        if self.rows is None:
            return rest
        pairs = zip(self.rows.float().tensors, rest.tensors, strict=True)
        return TrunkOutput(tuple(self._joined(rows, others) for rows, others in pairs))

    def _joined(self, rows: Tensor, others: Tensor) -> Tensor:
        """Each in its place; maps with the channels last in memory, as a cache has them."""
        stored_shape = rows.movedim(1, -1).shape[1:] if rows.dim() >= 4 else rows.shape[1:]
        joined = rows.new_empty(len(self), *stored_shape)
        joined = joined.movedim(-1, 1) if rows.dim() >= 4 else joined
        for part, mask in ((rows, self.is_cached), (others, ~self.is_cached)):
            joined.index_copy_(0, mask.nonzero()[:, 0].to(rows.device), part)
        return joined

    def _each(self, change: Callable) -> PartlyCached:
        changed = {
            name: None if part is None else change(part)
            for name, part in (("rows", self.rows), ("rest", self.rest))
        }
        return replace(self, **changed)


def _cut(part, start: int, stop: int):
    return None if part is None or start == stop else part[start:stop]
