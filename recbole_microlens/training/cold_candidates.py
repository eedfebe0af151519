"""RecBole's own models without cold items among the candidates of a softmax over all items."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

# By the names that these functions have in `torch`, `torch.Tensor` and `torch.nn.functional` alike.
_OVER_CLASSES = {"cross_entropy", "log_softmax"}


def without_cold_items(calculate_loss: Callable, is_cold: Tensor) -> Callable:
    """A stock model's loss, under ``protocol: cold``.

    A cross-entropy or a log-softmax over all items is one over those that are not cold: a cold item is then
    no candidate that the model learns to score low. Models of this package take their candidates from the
    batch, and need no such care.

    Parameters
    ----------
    calculate_loss : callable
        The model's.
    is_cold : Tensor [n_items], bool

    Returns
    -------
    callable
        With the same arguments and the same result.
    """

    @wraps(calculate_loss)
    def loss(*args, **kwargs):
        with _WithoutColdItems(is_cold):
            return calculate_loss(*args, **kwargs)

    return loss


class _WithoutColdItems(TorchFunctionMode):
    def __init__(self, is_cold: Tensor):
        super().__init__()
        self._is_cold = is_cold

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(function, "__name__", "") in _OVER_CLASSES:
            if args:
                args = (self._known(args[0]), *args[1:])
            else:
                kwargs = kwargs | {"input": self._known(kwargs["input"])}
        return function(*args, **kwargs)

    def _known(self, logits: Any) -> Tensor:
        """Scores [B, n_items] with those of cold items far below the others; any other tensor as it is."""
        if logits.ndim != 2 or logits.size(1) != len(self._is_cold):
            return logits
        # Finite: RecBole multiplies what it leaves out by zero.
        return logits.masked_fill(self._is_cold.to(logits.device), torch.finfo(logits.dtype).min / 2)
