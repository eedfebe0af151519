"""Bottleneck adapters: a small residual network behind each of the top stages.

Source: Houlsby et al., *Parameter-Efficient Transfer Learning for NLP*, https://arxiv.org/abs/1902.00751.
There an adapter stands behind each of the two parts of a layer, here behind the whole of a stage, which every
kind of network has.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from recbole_microlens.encoders.adapter_options import AdapterOptions
from recbole_microlens.encoders.adapters.adapted import AdaptedEncoder, pass_example_through
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.pooling import has_channels_last
from recbole_microlens.encoders.staged_forward import Features, StagedForward

_DEVIATION = 1e-2


class Bottleneck(nn.Module):
    """``x + up(gelu(down(x)))``, the identity at the start: ``up`` is zero.

    Parameters
    ----------
    width : int
        Of x.
    size : int
        Between the two linear layers.

    Examples
    --------
    >>> x = torch.randn(2, 5, 8)
    >>> torch.equal(Bottleneck(8, 3)(x), x)
    True
    """

    def __init__(self, width: int, size: int):
        super().__init__()
        self.down, self.up = nn.Linear(width, size), nn.Linear(size, width)
        nn.init.normal_(self.down.weight, std=_DEVIATION)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        return x + self.up(gelu(self.down(x)))


class StageAdapter(nn.Module):
    """A bottleneck for each floating-point tensor of what a stage returns; masks pass as they are.

    Parameters
    ----------
    features : Tensor [N, ...] or list of them
        What the stage returns, for their shapes.
    size : int
        See :class:`Bottleneck`.
    channels_last : bool
        Maps are [N, ..., C], not [N, C, ...].
    over_time : bool
        The stage is of convolutions over time, which return [N, C, L]; all others return tokens as [N, L, C].
    """

    def __init__(self, features: Features, size: int, channels_last: bool, over_time: bool = False):
        super().__init__()
        self.channels_last, self.over_time = channels_last, over_time
        tensors = features if isinstance(features, list) else [features]
        self.each = nn.ModuleList(
            Bottleneck(tensor.shape[self._axis(tensor)], size) if _is_state(tensor) else nn.Identity()
            for tensor in tensors
        )

    def forward(self, features: Features) -> Features:
        if isinstance(features, list):
            return [self._adapted(*pair) for pair in zip(self.each, features, strict=True)]
        return self._adapted(self.each[0], features)

    def _adapted(self, adapter: nn.Module, tensor: Tensor) -> Tensor:
        if isinstance(adapter, nn.Identity):
            return tensor
        axis = self._axis(tensor)
        return adapter(tensor) if axis == -1 else adapter(tensor.movedim(axis, -1)).movedim(-1, axis)

    def _axis(self, tensor: Tensor) -> int:
        if tensor.dim() < 4:
            return 1 if self.over_time else -1
        return -1 if self.channels_last else 1


class AfterStages:
    """A network run in parts with adapters behind some of its stages; see
    :class:`~recbole_microlens.encoders.staged_forward.StagedForward`.

    Parameters
    ----------
    network : StagedForward
    adapters : list of StageAdapter
        Of the last stages, in their order.
    """

    def __init__(self, network: StagedForward, adapters: list[StageAdapter]):
        self.network, self.adapters = network, adapters
        self.n_plain = len(network.stages) - len(adapters)
        above = zip(network.stages[self.n_plain :], adapters, strict=True)
        self.stages = network.stages[: self.n_plain] + [[*modules, adapter] for modules, adapter in above]

    def __call__(self, features: Features, first: int, last: int) -> Features:
        plain = min(max(first, self.n_plain), last)
        features = self.network(features, first, plain)
        for number in range(plain, last):
            features = self.adapters[number - self.n_plain](self.network(features, number, number + 1))
        return features


class Recorder:
    """A network run in parts that keeps what each stage returned in the last run."""

    def __init__(self, network: StagedForward):
        self.network, self.stages = network, network.stages
        self.returned: dict[int, Features] = {}

    def __call__(self, features: Features, first: int, last: int) -> Features:
        for number in range(first, last):
            features = self.returned[number] = self.network(features, number, number + 1)
        return features


class AdapterEncoder(AdaptedEncoder):
    """An encoder with adapters behind its top stages.

    Parameters
    ----------
    encoder : Encoder
        One without.
    adapters : list of StageAdapter
        Of the stages above the cut, in their order.
    """

    def __init__(self, encoder: Encoder, adapters: list[StageAdapter]):
        super().__init__(encoder, lambda network: AfterStages(network, adapters))
        self.adapters = nn.ModuleList(adapters)


def with_bottlenecks(encoder: Encoder, options: AdapterOptions) -> AdapterEncoder:
    """Put an adapter behind each of the stages above the cut, before the pooling."""
    recorders: list[Recorder] = []

    def recorded(network: StagedForward) -> StagedForward:
        recorders.append(Recorder(network))
        return recorders[0]

    pass_example_through(Encoder(encoder.spec, encoder.network, encoder.options, recorded))
    returned: dict[int, Any] = recorders[0].returned
    last = has_channels_last(encoder.pool)
    above = range(encoder.n_stages - encoder.trainable_stages, encoder.n_stages)
    adapters = [
        StageAdapter(returned[number], options.size, last, _is_over_time(recorders[0].stages[number]))
        for number in above
    ]
    return AdapterEncoder(encoder, adapters)


def _is_over_time(modules: list[nn.Module]) -> bool:
    """Whether a stage has convolutions over time, and no linear layer, which would take the channels last."""
    inner = [part for module in modules for part in module.modules()]
    return any(isinstance(part, nn.Conv1d) for part in inner) and not any(
        isinstance(part, nn.Linear) for part in inner
    )


def _is_state(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dim() > 1 and not torch.is_complex(tensor)
