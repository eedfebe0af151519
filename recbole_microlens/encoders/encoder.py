"""A content encoder: a library's network seen as stages in order, of which the top ones train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.walk import Features, StageWalk, Walk

if TYPE_CHECKING:
    from recbole_microlens.encoders.spec import EncoderSpec

TrunkOutput = tuple[Tensor, ...]


class Trunk(nn.Module):
    """The frozen part: an item's content through the lower stages.

    ``forward``: content as the encoder takes it -> what the next stage takes, a tuple of tensors [N, ...].
    """

    def __init__(self, encoder: Encoder, n_top: int):
        super().__init__()
        self.prepare, self.walk, self.cut = encoder.prepare, encoder.walk, encoder.n_stages - n_top
        self.stages = nn.ModuleList(encoder.stages()[: self.cut])

    def forward(self, content: Tensor) -> TrunkOutput:
        features = self.walk(self.prepare(content), 0, self.cut)
        return tuple(features) if isinstance(features, list) else (features,)


class Top(nn.Module):
    """The trainable part: the upper stages and the pooling.

    ``forward``: what :class:`Trunk` returns -> features [N, feature_dim].
    """

    def __init__(self, encoder: Encoder, n_top: int):
        super().__init__()
        self.pool, self.walk = next(iter(encoder.spec.pools.values())), encoder.walk
        self.first, self.last = encoder.n_stages - n_top, encoder.n_stages
        self.stages = nn.ModuleList(encoder.stages()[self.first :])

    def forward(self, trunk_output: TrunkOutput) -> Tensor:
        features = trunk_output[0] if len(trunk_output) == 1 else list(trunk_output)
        return self.pool(self.walk(features, self.first, self.last))


class Encoder(nn.Module):
    """A network of the registry, from an item's content to features.

    The lower stages are frozen when ``trainable_stages`` is less than all: they have no gradients and stay in
    eval mode, so their output for an item is a constant.

    Parameters
    ----------
    spec : the encoder's row in the registry.
    network : what ``spec.build`` returned.
    trainable_stages : how many top stages train, 0 to ``n_stages``; all by default.
    """

    def __init__(self, spec: EncoderSpec, network: nn.Module, trainable_stages: int | None = None):
        super().__init__()
        self.spec = spec
        self.network = network
        self.walk: Walk = spec.walk(spec, network)
        self.n_stages = len(self.walk.stages)
        self.trainable_stages = self.n_stages if trainable_stages is None else trainable_stages
        if spec.mean:
            self.register_buffer("scale", 1 / (255 * torch.tensor(spec.std)), persistent=False)
            self.register_buffer("shift", -torch.tensor(spec.mean) / torch.tensor(spec.std), persistent=False)
        for stage in self._frozen():
            stage.requires_grad_(False)

    @property
    def feature_dim(self) -> int:
        return self.spec.feature_dim

    def stages(self) -> list[nn.ModuleList]:
        """The modules of each stage, in the order of the forward pass."""
        return [nn.ModuleList(modules) for modules in self.walk.stages]

    def trunk(self, n_top: int) -> Trunk:
        """All but the last ``n_top`` stages, from the content on. ``top(n)(trunk(n)(x))`` is the whole
        network.
        """
        return Trunk(self, n_top)

    def top(self, n_top: int) -> Top:
        """The last ``n_top`` stages and the pooling."""
        return Top(self, n_top)

    def prepare(self, content: Tensor) -> Features:
        """An item's content -> the network's input.

        Pixels, uint8 [N, T, S, S, 3] or [N, S, S, 3], are normalised; the clips [N, 3, T, S, S] are a view in
        channels-last order, which is also what convolutions are fastest in. Tokens, int32 [N, 2, L], stay as
        they are.
        """
        if self.spec.modality == "text":
            return content
        channel_first = (0, 4, 1, 2, 3) if content.dim() == 5 else (0, 3, 1, 2)
        pixels = (content.float() * self.scale + self.shift).permute(channel_first)
        return self.spec.pathways(pixels) if self.spec.pathways else pixels

    def forward(self, content: Tensor | TrunkOutput) -> Tensor:
        """Features [N, feature_dim] of N items.

        Parameters
        ----------
        content : ``video``: uint8 [N, T, S, S, 3]; ``image``: uint8 [N, S, S, 3]; ``text``: int32 [N, 2, L],
            token ids and attention mask. Or, as a tuple, what :meth:`trunk` gave for them.
        """
        if not isinstance(content, tuple):
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.trainable_stages == self.n_stages):
                content = self.trunk(self.trainable_stages)(content)
        return self.top(self.trainable_stages)(content)

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        for stage in self._frozen():
            stage.eval()
        return self

    def _frozen(self) -> list[nn.ModuleList]:
        return self.stages()[: self.n_stages - self.trainable_stages]


def stage_walk(spec: EncoderSpec, network: nn.Module) -> Walk:
    """The walk through a network whose modules, named in ``spec.stages``, are called one after another."""
    return StageWalk([[network.get_submodule(name) for name in names] for names in spec.stages])


def mean_of_maps(features: Features) -> Tensor:
    """Mean over time and space of every pathway, side by side: [N, feature_dim]."""
    pathways = features if isinstance(features, list) else [features]
    return torch.cat([maps.flatten(2).mean(2) if maps.dim() > 2 else maps for maps in pathways], dim=1)
