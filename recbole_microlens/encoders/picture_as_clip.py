"""A video encoder in the place of an image encoder: each picture is a clip that stands still."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from recbole_microlens.encoders.spec import EncoderSpec


def picture_as_clip(video: EncoderSpec) -> EncoderSpec:
    """The spec of a video encoder as one for pictures; name, stages and weights stay."""
    frames = video.picture_frames
    return replace(
        video,
        modality="image",
        build=lambda _, size: video.build(frames, size),
        pathways=Repeated(frames, video.pathways),
        least_frames=1,
    )


@dataclass(frozen=True)
class Repeated:
    """Pictures [N, 3, S, S] -> clips [N, 3, T, S, S] that stand still, as the video network takes them."""

    frames: int
    pathways: Callable[[Tensor], Any] | None

    def __call__(self, pictures: Tensor) -> Any:
        clips = pictures.unsqueeze(2).expand(-1, -1, self.frames, -1, -1)
        return self.pathways(clips) if self.pathways else clips
