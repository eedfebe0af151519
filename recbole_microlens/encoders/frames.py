"""An image encoder in the place of a video encoder: each frame by itself, then a pooling over the frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.walk import Features, Walk

_TAPS = 3


class MeanOfFrames(nn.Module):
    """The mean over the frames; it does not see their order.

    Parameters
    ----------
    frame_dim : length of a frame's features.

    Attributes
    ----------
    feature_dim : length of what :meth:`forward` returns.
    """

    def __init__(self, frame_dim: int):
        super().__init__()
        self.feature_dim = frame_dim

    def look(self, clips: Tensor) -> Tensor:
        """Normalised clips [N, 3, T, S, S] -> the pictures that the image encoder looks at, in the place of T."""
        return clips

    def forward(self, features: Tensor) -> Tensor:
        """Features of the pictures, [N, frame_dim, pictures] -> [N, feature_dim]."""
        return features.mean(2)


class Differences(MeanOfFrames):
    """The mean over the frames, and beside it the mean over pictures of what changes from one to the next.

    Such a picture is half the difference of two neighbouring frames, grey where nothing moves: an object that moves
    is light on one side and dark on the other. Motion is then seen before the image encoder has averaged over the
    places of a frame. It costs T - 1 pictures more.
    """

    def __init__(self, frame_dim: int):
        super().__init__(frame_dim)
        self.feature_dim = 2 * frame_dim

    def look(self, clips: Tensor) -> Tensor:
        return torch.cat([clips, clips.diff(dim=2) / 2], dim=2)

    def forward(self, features: Tensor) -> Tensor:
        frames = features.size(2) // 2 + 1
        return torch.cat([features[:, :, :frames].mean(2), features[:, :, frames:].mean(2)], dim=1)


class TemporalLayer(MeanOfFrames):
    """The mean over the frames after a small layer that trains: a convolution over time for each feature, GELU, and a
    scale that is zero at first, so that training starts from the mean.
    """

    def __init__(self, frame_dim: int):
        super().__init__(frame_dim)
        self.over_time = nn.Conv1d(frame_dim, frame_dim, _TAPS, padding=_TAPS // 2, groups=frame_dim)
        self.scale = nn.Parameter(torch.zeros(frame_dim, 1))

    def forward(self, features: Tensor) -> Tensor:
        return (features + self.scale * nn.functional.gelu(self.over_time(features))).mean(2)


FRAME_POOLS = {"mean": MeanOfFrames, "difference": Differences, "temporal": TemporalLayer}


def frames_of(image: EncoderSpec) -> EncoderSpec:
    """The row of an image encoder as one for video; name, stages and weights stay.

    Between two stages the features of a clip are those of its frames, with the time behind the first of their
    dimensions, as in the maps of a video network: [N, C, T, H, W].
    """
    return replace(
        image,
        modality="video",
        build=lambda frames, size: image.build(1, size),
        pathways=partial(each_frame, image.pathways) if image.pathways else None,
        walk=lambda spec, network: FrameWalk(image.walk(replace(image, stages=spec.stages), network)),
        pools={name: partial(each_frame, pool) for name, pool in image.pools.items()},
        load=lambda spec, network, source: image.load(image, network, source),
        frame_pools=FRAME_POOLS,
    )


class FrameWalk:
    """The walk through an image network with all frames of the clips; see :class:`Walk`.

    Parameters
    ----------
    of_images : the walk with images.
    """

    def __init__(self, of_images: Walk):
        self.of_images, self.stages = of_images, of_images.stages

    def __call__(self, features: Features, first: int, last: int) -> Features:
        return each_frame(partial(self.of_images, first=first, last=last), features)


def each_frame(run: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """[N, C, T, ...] -> [N, C', T, ...]; ``run`` takes the frames of all clips, [N T, C, ...], and gives
    [N T, C', ...].
    """
    frames = clips.movedim(2, 1)  # [N, T, C, ...]
    return run(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).movedim(1, 2)
