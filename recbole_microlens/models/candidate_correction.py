"""A softmax over the items of a batch stands for one over all: corrected for how likely each is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from recbole_microlens.errors import MicroLensError

# Far below any logit, yet finite: RecBole multiplies the loss of padded targets by zero.
_LEFT_OUT = -1e9

# By the names that these functions have in `torch`, `torch.Tensor` and `torch.nn.functional` alike.
_SOFTMAX = {"softmax", "log_softmax", "logsumexp"}
_CROSS_ENTROPY = {"cross_entropy"}
_LOOKUP = {"embedding", "embedding_bag", "index_select", "gather", "take", "take_along_dim"}
# A softmax is inside of these, or may be built of them, where it cannot be corrected.
_OPAQUE = {
    "exp",
    "exp_",
    "exp2",
    "expm1",
    "softmin",
    "gumbel_softmax",
    "nll_loss",
    "logcumsumexp",
    "logaddexp",
    "scaled_dot_product_attention",
    "multi_head_attention_forward",
    "linear_cross_entropy",
}


class UncorrectedSoftmax(MicroLensError):
    """A model's loss normalises over the candidates in a way that cannot be corrected."""


class CandidateSoftmax(TorchFunctionMode):
    """Inside the block, every softmax over the candidates is corrected for how likely each is to be one.

    Scores over the candidates are recognised by where they come from: what is computed from a table with a
    row for each candidate, and still has one value for each, is such a score, whatever the targets are or the
    loss is called. ``softmax``, ``log_softmax``, ``logsumexp`` and ``cross_entropy`` along that dimension are
    computed on ``score - log q``, padding left out, so that the sum over the candidates estimates the sum
    over all items. What comes out of them is not corrected again. Other losses, such as a contrastive one
    between users or a pairwise one, are left alone.

    Source: the correction is that of Yi et al., "Sampling-bias-corrected neural modeling for large corpus
    item recommendations", RecSys 2019, with q of a candidate that is there once, however often it occurs.

    Parameters
    ----------
    log_presence : Tensor [K]
        Log q of each candidate; column 0 is padding. See :func:`~recbole_microlens.losses.log_presence`.
    tables : list[Tensor]
        With a row for each candidate, [K, ...]; rows behind the candidates (BERT4Rec's mask token) are left
        out like padding.

    Attributes
    ----------
    applied : int
        How many functions were corrected.

    Raises
    ------
    UncorrectedSoftmax
        Inside the block: the scores go through a function that cannot be corrected, such as ``exp``.
    """

    def __init__(self, log_presence: Tensor, tables: list[Tensor]):
        super().__init__()
        self.log_presence = log_presence
        self.applied = 0
        self._widths = {len(log_presence)} | {len(table) for table in tables}
        self._scores = WeakIdKeyDictionary(dict.fromkeys(tables, True))

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if not any(tensor in self._scores for tensor in _tensors((args, kwargs))):
            return function(*args, **kwargs)
        if name in _OPAQUE:
            raise UncorrectedSoftmax(
                f"scores over the items of the batch go through {name}(), which cannot be corrected for the "
                "items that are not in the batch: use softmax, log_softmax, logsumexp or cross_entropy"
            )
        if name in _SOFTMAX:
            return self._softmax(function, args, kwargs)
        if name in _CROSS_ENTROPY:
            return self._cross_entropy(*args, **kwargs)
        result = function(*args, **kwargs)
        if not self._looks_up(name, args):
            for found in _tensors(result):
                if found.is_floating_point() and self._widths & set(found.shape):
                    self._scores[found] = True
        return result

    def _softmax(self, function: Callable, args: tuple, kwargs: dict) -> Tensor:
        scores, rest = (args[0], args[1:]) if args else (kwargs.pop("input"), ())
        dim = kwargs.get("dim", rest[0] if rest else None)
        dim = dim[0] if isinstance(dim, tuple | list) and len(dim) == 1 else dim
        if not isinstance(dim, int):
            raise UncorrectedSoftmax(f"{function.__name__}() over the items of the batch must name one dim")
        return function(self._corrected(scores, dim), *rest, **kwargs)

    def _cross_entropy(self, input: Tensor, target: Tensor, *rest: Any, **kwargs: Any) -> Tensor:
        return F.cross_entropy(self._corrected(input, min(1, input.ndim - 1)), target, *rest, **kwargs)

    def _corrected(self, scores: Tensor, dim: int) -> Tensor:
        """Logits in float32 with ``log q`` subtracted, if the dimension is over the candidates."""
        width = scores.size(dim)
        if width not in self._widths or scores not in self._scores:
            return scores
        self.applied += 1
        shape = [1] * scores.ndim
        shape[dim] = width
        corrected = scores.float() - self._correction[:width].view(shape)
        return corrected.masked_fill(self._is_left_out[:width].view(shape), _LEFT_OUT)

    def _looks_up(self, name: str, args: tuple) -> bool:
        """Does a function pick rows of a table, so that its result is no longer over the candidates?"""
        if name != "__getitem__":
            return name in _LOOKUP
        table, index = args
        first = index[0] if isinstance(index, tuple) else index
        return isinstance(first, Tensor) and table.size(-1) not in self._widths

    @cached_property
    def _correction(self) -> Tensor:
        return F.pad(self.log_presence.float(), (0, max(self._widths) - len(self.log_presence)))

    @cached_property
    def _is_left_out(self) -> Tensor:
        column = torch.arange(max(self._widths), device=self.log_presence.device)
        return (column == 0) | (column >= len(self.log_presence))


def _tensors(nested: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor))
