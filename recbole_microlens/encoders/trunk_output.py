"""What the frozen part of an encoder gives for some items: computed by it, or read from a cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recbole_microlens.encoders.staged_forward import Features


@dataclass(frozen=True)
class TrunkOutput:
    """The state of N items between two stages of an encoder.

    Attributes
    ----------
    tensors : tuple of Tensor [N, ...]
        Several where the network has pathways, or tokens and their mask.

    Examples
    --------
    >>> output = TrunkOutput((torch.zeros(5, 2), torch.ones(5)))
    >>> len(output), len(output[1:3])
    (5, 2)
    """

    tensors: tuple[Tensor, ...]

    @classmethod
    def of(cls, features: Features) -> TrunkOutput:
        """The output that consists of these features."""
        return cls(tuple(features) if isinstance(features, list) else (features,))

    @property
    def features(self) -> Features:
        """What the next stage takes."""
        return self.tensors[0] if len(self.tensors) == 1 else list(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, items: slice) -> TrunkOutput:
        return self._each(lambda tensor: tensor[items])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TrunkOutput:
        """Copy to a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TrunkOutput:
        """Copy to memory that a GPU reads asynchronously."""
        return self._each(Tensor.pin_memory)

    def float(self) -> TrunkOutput:
        """In float32; integers, such as masks of tokens, stay as they are."""
        return self._each(lambda tensor: tensor.float() if tensor.is_floating_point() else tensor)

    def _each(self, change: Callable[[Tensor], Tensor]) -> TrunkOutput:
        return replace(self, tensors=tuple(map(change, self.tensors)))
