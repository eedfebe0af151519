"""An image encoder in the place of a video encoder: each frame by itself, then a pooling over the frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.staged_forward import Features, StagedForward

_CHANGES = 3


class MeanOfFrames(nn.Module):
    """The mean over the frames; it does not see their order.

    Parameters
    ----------
    frame_dim : int
        Length of a frame's features.

    Attributes
    ----------
    feature_dim : int
        Length of what :meth:`forward` returns.
    trains : bool
        Whether it has weights, which train whatever part of the encoder does: it then stands above all
        stages, so that the output of a frozen encoder is what it takes, the features of each frame.
    """

    trains = False

    def __init__(self, frame_dim: int):
        super().__init__()
        self.feature_dim = frame_dim

    def look(self, clips: Tensor) -> Tensor:
        """Normalised clips [N, 3, T, S, S] -> the pictures that the image encoder looks at, in the place of
        T.
        """
        return clips

    def forward(self, features: Tensor) -> Tensor:
        """Features of the pictures, [N, frame_dim, pictures] -> [N, feature_dim]."""
        return features.mean(2)


class Differences(MeanOfFrames):
    """The mean over the frames, and beside it the mean over pictures of motion.

    A picture shows how much each place changes from one frame to the next, three changes in a row as its red,
    green and blue: what moves leaves a fringe from red to blue in the direction of its motion. So motion is
    seen before the image encoder averages over the places of a frame; the features of the frames alone, each
    averaged, no longer hold it. Clips of T frames cost T - 3 pictures more, one at least.
    """

    def __init__(self, frame_dim: int):
        super().__init__(frame_dim)
        self.feature_dim = 2 * frame_dim

    def look(self, clips: Tensor) -> Tensor:
        return torch.cat([clips, pictures_of_motion(clips)], dim=2)

    def forward(self, features: Tensor) -> Tensor:
        # T frames give T - 3 pictures; two or three give one.
        frames = (features.size(2) + 3) // 2 if features.size(2) > 4 else features.size(2) - 1
        return torch.cat([features[:, :, :frames].mean(2), features[:, :, frames:].mean(2)], dim=1)


class AttentionOverFrames(MeanOfFrames):
    """A weighted mean over the frames, whose weights follow from the features of each: equation 8 of Ilse et
    al., *Attention-based Deep Multiple Instance Learning*, https://arxiv.org/abs/1802.04712.

    ``a_t = softmax_t(w tanh(V f_t))``. It does not see the order of the frames. ``w`` starts at zero, so that
    the pooling begins as the mean and learns which frames count.

    Parameters
    ----------
    frame_dim : int
        Length of a frame's features.
    hidden : int
        Rows of V, the paper's 128 by default.
    """

    trains = True

    def __init__(self, frame_dim: int, hidden: int = 128):
        super().__init__(frame_dim)
        self.hidden = nn.Linear(frame_dim, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def weights(self, features: Tensor) -> Tensor:
        """Features of the frames, [N, frame_dim, T] -> what each frame counts, [N, T], with sum 1."""
        scores = self.score(torch.tanh(self.hidden(features.transpose(1, 2))))  # [N, T, 1]
        return scores.squeeze(2).softmax(1)

    def forward(self, features: Tensor) -> Tensor:
        return (features * self.weights(features).unsqueeze(1)).sum(2)


def pictures_of_motion(clips: Tensor) -> Tensor:
    """Normalised clips [N, 3, T, S, S] -> [N, 3, pictures, S, S], from -1, no change, to 1, a change by 1 or
    more in any colour. Where there are fewer than three changes, the last one is repeated.
    """
    changes = clips.diff(dim=2).abs().amax(dim=1)  # [N, T - 1, S, S]
    changes = torch.cat([changes, *[changes[:, -1:]] * (_CHANGES - changes.size(1))], dim=1)
    rows = changes.size(1) - _CHANGES + 1
    pictures = torch.stack([changes[:, number : number + rows] for number in range(_CHANGES)], dim=1)
    return (2 * pictures).clamp(max=2) - 1


FRAME_POOLS = {"mean": MeanOfFrames, "difference": Differences, "attention": AttentionOverFrames}


def frames_of(image: EncoderSpec) -> EncoderSpec:
    """The spec of an image encoder as one for video; name, stages and weights stay.

    Between two stages the features of a clip are those of its frames, with the time behind the first of their
    dimensions, as in the maps of a video network: [N, C, T, H, W].
    """
    return replace(
        image,
        modality="video",
        build=lambda frames, size: image.build(1, size),
        pathways=partial(each_frame, image.pathways) if image.pathways else None,
        pools={name: partial(each_frame, pool) for name, pool in image.pools.items()},
        frame_pools=FRAME_POOLS,
    )


class FrameByFrame:
    """An image network run with all frames of the clips; see :class:`StagedForward`.

    Parameters
    ----------
    of_images : StagedForward
        How it is run with images.
    """

    def __init__(self, of_images: StagedForward):
        self.of_images, self.stages = of_images, of_images.stages

    def __call__(self, features: Any, first: int, last: int) -> Features:
        if first == last:
            return features
        return each_frame(partial(self.of_images, first=first, last=last), features)


def each_frame(run: Callable[[Any], Any], clips: Tensor) -> Tensor:
    """[N, C, T, ...] -> [N, C', T, ...]; ``run`` takes the frames of all clips, [N T, C, ...], and gives
    [N T, C', ...].
    """
    frames = clips.movedim(2, 1)  # [N, T, C, ...]
    return run(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).movedim(1, 2)
