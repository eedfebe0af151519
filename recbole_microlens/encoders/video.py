"""Builders of pytorchvideo's networks, unmodified, for any number of frames and any size."""

import torch
from torch import Tensor, nn


def slow_and_fast(clips: Tensor) -> list[Tensor]:
    """SlowFast's input: the fast pathway gets all frames, the slow one every fourth.

    Of five frames these are the first and the last, as in the published code of MicroLens.

    Parameters
    ----------
    clips : [N, 3, T, S, S]

    Returns
    -------
    [N, 3, (T - 1) // 4 + 1, S, S], the length that the pathways' fusion needs, and the clips.
    """
    frames = clips.size(2)
    slow = torch.linspace(0, frames - 1, (frames - 1) // 4 + 1, device=clips.device).round().long()
    return [clips[:, :, slow], clips]


def build_from_hub(function: str, frames: int, size: int) -> nn.Module:
    """What a function of ``pytorchvideo.models.hub`` returns.

    Its head pools over a fixed number of frames; it is never called, so that any clip will do.
    """
    from pytorchvideo.models import hub

    return getattr(hub, function)()


def build_x3d(depth_factor: float, frames: int, size: int) -> nn.Module:
    """X3D of pytorchvideo. It pools inside its head, between two layers that have weights, over a clip whose
    length and size the hub's functions fix.
    """
    from pytorchvideo.models.x3d import create_x3d

    return create_x3d(input_clip_length=frames, input_crop_size=size, depth_factor=depth_factor)
