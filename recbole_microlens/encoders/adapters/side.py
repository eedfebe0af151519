"""A side network beside a frozen encoder: it reads the pooled states of some layers, which are a constant.

Source: Fu et al., *IISAN: Efficiently Adapting Multimodal Representation for Sequential Recommendation with
Decoupled PEFT*, https://arxiv.org/abs/2404.02059: the side network of one modality (its *intra-modal* part).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.adapter_options import AdapterOptions
from recbole_microlens.encoders.adapters.adapted import AdaptedEncoder
from recbole_microlens.encoders.adapters.bottleneck import Bottleneck
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.example_content import example_content
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.staged_forward import Features, StagedForward
from recbole_microlens.errors import MicroLensError

_TEMPERATURE = 0.1
Pool = Callable[[Features], Tensor]


class SideNetwork(nn.Module):
    """States of layers, lowest first -> features.

    ``s_1 = block_1(h_1)``; ``s_i = block_i(g_i h_i + (1 - g_i) s_(i-1))``, with a gate ``g_i = sigmoid(a_i /
    0.1)`` that starts at 1/2 and a :class:`Bottleneck` for each layer, which starts as the identity. Where a
    layer is wider than the one before, or narrower, ``s_(i-1)`` is mapped to its width.

    Parameters
    ----------
    widths : list of int
        Of the states h.
    size : int
        Of the bottlenecks.

    Examples
    --------
    >>> low, high = torch.zeros(2, 4), torch.ones(2, 4)
    >>> SideNetwork([4, 4], 3)([low, high]).mean().item()
    0.5
    """

    def __init__(self, widths: list[int], size: int):
        super().__init__()
        self.feature_dim = widths[-1]
        self.blocks = nn.ModuleList(Bottleneck(width, size) for width in widths)
        self.gates = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in widths[1:])
        self.fitted = nn.ModuleList(
            nn.Identity() if below == width else nn.Linear(below, width, bias=False)
            for below, width in pairwise(widths)
        )

    def forward(self, states: list[Tensor]) -> Tensor:
        """A state [N, width] for each layer -> [N, feature_dim]."""
        first, *others = states
        side = self.blocks[0](first)
        for block, fit, weight, state in zip(self.blocks[1:], self.fitted, self.gates, others, strict=True):
            gate = torch.sigmoid(weight / _TEMPERATURE)
            side = block(gate * state + (1 - gate) * fit(side))
        return side


class BesideStages:
    """A network run in parts with a side network as one more stage, on top; see
    :class:`~recbole_microlens.encoders.staged_forward.StagedForward`.

    Between two stages of the network the features are its own and the pooled states of the layers so far;
    below the side network they are these states alone. Layers above the last chosen one are not run.

    Parameters
    ----------
    network : StagedForward
    pools : dict of int to callable
        By number of the stages that the side network reads, rising: what one returns -> its pooled state
        [N, width].
    side : SideNetwork
    """

    def __init__(
        self,
        network: StagedForward,
        pools: dict[int, Pool],
        side: SideNetwork,
    ):
        self.network, self.pools, self.layers, self.side = network, pools, tuple(pools), side
        self.n_below = len(network.stages)
        self.stages: list[list[nn.Module]] = [*network.stages, [side]]

    def __call__(self, features: Features, first: int, last: int) -> Features:
        if first == last:
            return features
        own, states = self._parted(features, first)
        for number in range(first, min(last, self.layers[-1] + 1)):
            own = self.network(own, number, number + 1)
            if number in self.layers:
                states.append(self.pools[number](own))
        if last > self.n_below:
            return self.side(states)
        return states if last == self.n_below else [*(own if isinstance(own, list) else [own]), *states]

    def _parted(self, features: Features, first: int) -> tuple[Features, list[Tensor]]:
        """The network's own features and the states of the layers below ``first``."""
        if first == 0:
            return features, []
        tensors = features if isinstance(features, list) else [features]
        if first == self.n_below:
            return [], list(tensors)
        n_own = len(tensors) - sum(layer < first for layer in self.layers)
        own: Features = tensors[0] if n_own == 1 else tensors[:n_own]
        return own, list(tensors[n_own:])


class SideEncoder(AdaptedEncoder):
    """An encoder with a side network: the whole of the network is below the cut.

    Parameters
    ----------
    encoder : Encoder
        One without, none of whose stages trains.
    layers : tuple of int
        Numbers of the stages that the side network reads, rising.
    side : SideNetwork
    """

    def __init__(self, encoder: Encoder, layers: tuple[int, ...], side: SideNetwork):
        super().__init__(encoder)
        self.layers, self.side = layers, side
        self.staged_forward = BesideStages(self.staged_forward, _pools_of(self, layers), side)
        self.n_stages, self.trainable_stages = self.n_stages + 1, 1

    @property
    def feature_dim(self) -> int:
        return self.side.feature_dim

    @property
    def trained_part(self) -> str:
        numbers = ", ".join(map(str, self.layers))
        return (
            f"a side network on the states of stages {numbers} of 0 to {self.n_stages - 2}, which are frozen"
        )

    def fingerprint(self, n_top: int) -> dict[str, str | int]:
        return super().fingerprint(n_top) | {"side layers": repr(self.layers)}

    def _pool(self, features: Features) -> Tensor:
        assert isinstance(features, Tensor)  # of the side network, from which nothing is to be pooled
        return features


def with_side_network(encoder: Encoder, options: AdapterOptions) -> SideEncoder:
    """Put a side network beside an encoder.

    Raises
    ------
    MicroLensError
        A layer that the encoder does not have.
    """
    layers = chosen_layers(encoder.spec, options.layers)
    return SideEncoder(encoder, layers, SideNetwork(_widths(encoder, layers), options.size))


def chosen_layers(spec: EncoderSpec, layers: tuple[int, ...] | None) -> tuple[int, ...]:
    """Numbers of the stages that a side network reads, rising.

    Parameters
    ----------
    spec : EncoderSpec
    layers : tuple of int, optional
        By default every second stage from the top down, as IISAN does, without the lowest one: of 13 stages
        2, 4, ..., 12.

    Raises
    ------
    MicroLensError
        There is no such stage, or one is named twice.
    """
    highest = len(spec.stages) - 1
    if layers is None:
        return tuple(sorted(range(highest, 0, -2))) or (0,)
    if not layers or not all(0 <= layer <= highest for layer in layers) or len(set(layers)) < len(layers):
        raise MicroLensError(
            f"side_layers: {list(layers)} does not fit; '{spec.name}' has the stages 0 to {highest}, where 0 "
            "is the lowest. Name some of them, each once, or leave it out for every second one."
        )
    return tuple(sorted(layers))


@torch.no_grad()
def _widths(encoder: Encoder, layers: tuple[int, ...]) -> list[int]:
    """Lengths of the pooled states of layers."""
    device = next(encoder.parameters()).device
    content = example_content(encoder.spec, 1, encoder.options.frames, encoder.options.size, device)
    features, pools, widths = encoder.eval().prepare(content), _pools_of(encoder, layers), []
    for number in range(layers[-1] + 1):
        features = encoder.staged_forward(features, number, number + 1)
        if number in layers:
            widths.append(pools[number](features).shape[1])
    encoder.train()
    return widths


def _pools_of(encoder: Encoder, layers: tuple[int, ...]) -> dict[int, Pool]:
    """The encoder's pooling, over the frames of a clip too; for stages below the last one that of states."""
    spec = encoder.spec
    below = spec.pools[encoder.options.pooling or next(iter(spec.pools))]
    highest = len(spec.stages) - 1
    pools = {layer: encoder.pool if layer == highest else below for layer in layers}
    return {layer: partial(_pooled, pool, encoder.frame_pool) for layer, pool in pools.items()}


def _pooled(pool: Callable, frame_pool: nn.Module | None, features: Features) -> Tensor:
    pooled = pool(features)
    return frame_pool(pooled) if frame_pool else pooled
