"""A network of sound run on each window of an item, and the mean over the windows that hold sound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recbole_microlens.encoders.staged_forward import Features, StagedForward


def each_window(run: Callable[[Any], Any], features: Any) -> Any:
    """[N, W, ...] -> [N, W, ...]; ``run`` takes the windows of all items, [N W, ...], and gives [N W, ...].

    Parameters
    ----------
    run : callable
    features : Tensor or list of them
    """
    tensors = features if isinstance(features, list) else [features]
    items = tensors[0].shape[:2]
    flat = [tensor.flatten(0, 1) for tensor in tensors]
    found = run(flat if isinstance(features, list) else flat[0])
    if isinstance(found, list | tuple):
        return [tensor.unflatten(0, items) for tensor in found]
    return found.unflatten(0, items)


class WindowByWindow:
    """A network of sound run with all windows of the items; see :class:`StagedForward`.

    Parameters
    ----------
    of_windows : StagedForward
        How it is run with windows: on a list of its input [B, ...] and how much of it is sound.
    """

    def __init__(self, of_windows: StagedForward):
        self.of_windows, self.stages = of_windows, of_windows.stages

    def __call__(self, features: Any, first: int, last: int) -> Features:
        if first == last:
            return features
        return each_window(partial(self.of_windows, first=first, last=last), features)


@dataclass(frozen=True)
class MeanOfWindows:
    """What the last stage gives for the windows of items -> features of the items.

    Attributes
    ----------
    pool : callable
        ``[states [B, ...], what of them is sound [B, ...]] -> [B, d]``, of each window.
    """

    pool: Callable[[list[Tensor]], Tensor]

    def __call__(self, features: list[Tensor]) -> Tensor:
        """States [N, W, ...] and what of them is sound [N, W, ...] -> the mean over the windows with sound,
        [N, d]; zeros for an item of silence.
        """
        pooled = each_window(self.pool, features)  # [N, W, d]
        heard = (features[1].flatten(2) if features[1].dim() > 2 else features[1].unsqueeze(2)) != 0
        weights = heard.any(2).to(pooled.dtype).unsqueeze(2)  # [N, W, 1]
        return torch.where(weights > 0, pooled, 0).sum(1) / weights.sum(1).clamp(min=1)
