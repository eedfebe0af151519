"""A training step on the items of a batch alone: what stands in for tables and losses over all items."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Far below any logit, yet finite: RecBole multiplies the loss of padded targets by zero.
_LEFT_OUT = -1e9


class BatchItemTable(nn.Module):
    """Stands where a model has ``item_embedding``, for the items of one batch.

    Parameters
    ----------
    weight : [U + 1 + extra rows, d], row 0 is padding.
    bias : what a model that uses the embedding as its output layer reads.
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

    Parameters
    ----------
    values : by dotted name. A tensor may stand in for a parameter; gradients flow through it.
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


class CandidateCrossEntropy(TorchFunctionMode):
    """Inside the block, a cross-entropy over the items of the batch is corrected for popularity.

    That is any ``cross_entropy`` or ``nll_loss`` whose targets are a field of item ids of the batch; others,
    such as a contrastive loss between users, are left alone. From each logit the candidate's log popularity
    is subtracted, and the padding column is left out, as in
    :func:`~recbole_microlens.losses.in_batch_softmax`.

    Parameters
    ----------
    log_popularity : [U + 1], of each candidate; column 0 is padding.
    targets : the fields of item ids.

    Attributes
    ----------
    applied : how many losses were corrected.
    """

    def __init__(self, log_popularity: Tensor, targets: list[Tensor]):
        super().__init__()
        self.log_popularity = log_popularity
        self.applied = 0
        self._targets = {field.untyped_storage().data_ptr() for field in targets}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in (F.cross_entropy, F.nll_loss):
            scores, target, *rest = args
            if target.untyped_storage().data_ptr() in self._targets:
                self.applied += 1
                # Log-probabilities differ from logits by a constant a row, which a softmax does not see.
                return F.cross_entropy(self._corrected(scores), target, *rest, **kwargs)
        return function(*args, **kwargs)

    def _corrected(self, scores: Tensor) -> Tensor:
        """[N, U + 1] logits or log-probabilities -> logits in float32."""
        corrected = scores.float() - self.log_popularity
        is_padding = torch.arange(scores.size(-1), device=scores.device) == 0
        return corrected.masked_fill(is_padding, _LEFT_OUT)
