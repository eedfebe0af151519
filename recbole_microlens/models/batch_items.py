"""A training step on the items of a batch alone: what stands in for tables over all items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn


class BatchItemTable(nn.Module):
    """Stands where a model has ``item_embedding``, for the items of one batch.

    Parameters
    ----------
    weight : Tensor [U + 1 + extra rows, d]
        Row 0 is padding.
    bias : Tensor, optional
        What a model that uses the embedding as its output layer reads.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight = weight
        self.bias = bias

    def forward(self, item_ids: Tensor) -> Tensor:
        """Ids in the batch's numbering, of any shape [...] -> [..., d]."""
        return F.embedding(item_ids, self.weight)


@contextmanager
def replaced(model: nn.Module, values: dict[str, object]) -> Iterator[None]:
    """Inside the block, the named attributes, modules and parameters of a model are others.

    ``torch.func.functional_call`` swaps parameters only; here a whole module and plain attributes change too.

    Parameters
    ----------
    values : dict[str, object]
        By dotted name. A tensor may stand in for a parameter; gradients flow through it.
    """
    places = [(*_place_of(model, name), value) for name, value in values.items()]
    before = [space[key] for space, key, _ in places]
    try:
        for space, key, value in places:
            space[key] = value
        yield
    finally:
        for (space, key, _), value in zip(places, before, strict=True):
            space[key] = value


def _place_of(model: nn.Module, name: str) -> tuple[dict, str]:
    owner, _, key = name.rpartition(".")
    module = model.get_submodule(owner)
    for space in (module._parameters, module._modules, vars(module)):
        if key in space:
            return space, key
    raise AttributeError(f"{type(model).__name__} has no {name}")
