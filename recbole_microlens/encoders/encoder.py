"""A content encoder: a library's network seen as stages in order, of which the top ones train."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from recbole_microlens.encoders.registry import EncoderSpec

Features = Tensor | list[Tensor]


class Trunk(nn.Module):
    """The frozen part: normalised pixels through the lower stages.

    ``forward``: uint8 pixels [N, T, S, S, 3] -> what the next stage takes (a tensor, or a list of pathways).
    """

    def __init__(self, encoder: Encoder, n_top: int):
        super().__init__()
        self.prepare = encoder.prepare
        self.stages = nn.ModuleList(encoder.stages()[: encoder.n_stages - n_top])

    def forward(self, pixels: Tensor) -> Features:
        return _through(self.stages, self.prepare(pixels))


class Top(nn.Module):
    """The trainable part: the upper stages and the pooling.

    ``forward``: what :class:`Trunk` returns -> features [N, feature_dim].
    """

    def __init__(self, encoder: Encoder, n_top: int):
        super().__init__()
        self.stages = nn.ModuleList(encoder.stages()[encoder.n_stages - n_top :])

    def forward(self, features: Features) -> Tensor:
        return _pool(_through(self.stages, features))


class Encoder(nn.Module):
    """A network of the registry; ``forward``: uint8 pixels [N, T, S, S, 3] -> features [N, feature_dim].

    The lower stages are frozen when ``trainable_stages`` is less than all: they have no gradients and stay in
    eval mode, so their output for a clip is a constant.

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
        self.n_stages = len(spec.stages)
        self.trainable_stages = self.n_stages if trainable_stages is None else trainable_stages
        self.register_buffer("scale", 1 / (255 * torch.tensor(spec.std)), persistent=False)
        self.register_buffer("shift", -torch.tensor(spec.mean) / torch.tensor(spec.std), persistent=False)
        for stage in self._frozen():
            stage.requires_grad_(False)

    @property
    def feature_dim(self) -> int:
        return self.spec.feature_dim

    def stages(self) -> list[nn.Module]:
        """The network's stages in the order of the forward pass; they share its parameters."""
        return [
            nn.Sequential(*(self.network.get_submodule(name) for name in names)) for names in self.spec.stages
        ]

    def trunk(self, n_top: int) -> Trunk:
        """All but the last ``n_top`` stages, from pixels on. ``top(n)(trunk(n)(x))`` is the whole network."""
        return Trunk(self, n_top)

    def top(self, n_top: int) -> Top:
        """The last ``n_top`` stages and the pooling."""
        return Top(self, n_top)

    def prepare(self, pixels: Tensor) -> Features:
        """uint8 pixels [N, T, S, S, 3] -> the normalised input of the network.

        The clips [N, 3, T, S, S] are a view in channels-last order, which is also what convolutions are
        fastest in.
        """
        clips = (pixels.float() * self.scale + self.shift).permute(0, 4, 1, 2, 3)
        return self.spec.pathways(clips) if self.spec.pathways else clips

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trainable_stages == self.n_stages):
            features = self.trunk(self.trainable_stages)(pixels)
        return self.top(self.trainable_stages)(features)

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        for stage in self._frozen():
            stage.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        return self.stages()[: self.n_stages - self.trainable_stages]


def _through(stages: nn.ModuleList, features: Features) -> Features:
    for stage in stages:
        # pytorchvideo's pathways overwrite the list they are given.
        features = stage(list(features) if isinstance(features, list) else features)
    return features


def _pool(features: Features) -> Tensor:
    """Mean over time and space of every pathway, side by side: [N, feature_dim]."""
    pathways = features if isinstance(features, list) else [features]
    return torch.cat([maps.flatten(2).mean(2) if maps.dim() > 2 else maps for maps in pathways], dim=1)
