"""Builders of video networks from the unmodified libraries, for any number of frames and any size.

Each drops the classification layer, so that the network ends in what is pooled into a feature vector.
"""

import torch
from torch import Tensor, nn

from recbole_microlens import compat
from recbole_microlens.errors import MicroLensError


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
    slow = torch.linspace(0, frames - 1, (frames - 1) // 4 + 1).round().long()
    return [clips[:, :, slow], clips]


def build_slowfast_r50(frames: int, size: int) -> nn.Module:
    """SlowFast R50 of pytorchvideo, its five blocks; the pooling of the two pathways is left to us."""
    _require("slowfast_r50", frames, size, least_frames=1, least_size=32)
    compat.fix_torchvision()
    from pytorchvideo.models import hub

    network = hub.slowfast_r50()
    network.blocks = network.blocks[:5]
    return network


def build_x3d_xs(frames: int, size: int) -> nn.Module:
    """X3D-XS of pytorchvideo up to its 2048 pooled features (``blocks.5`` without dropout and projection)."""
    _require("x3d_xs", frames, size, least_frames=1, least_size=32)
    compat.fix_torchvision()
    from pytorchvideo.models.x3d import create_x3d

    network = create_x3d(input_clip_length=frames, input_crop_size=size, depth_factor=2.2)
    head = network.blocks[5]
    head.proj = head.dropout = head.activation = None
    return network


def build_r3d_18(frames: int, size: int) -> nn.Module:
    """3D ResNet-18 of torchvision up to its last residual layer."""
    _require("r3d_18", frames, size, least_frames=1, least_size=16)
    compat.fix_torchvision()
    from torchvision.models.video import r3d_18

    network = r3d_18()
    del network.fc, network.avgpool
    return network


def _require(name: str, frames: int, size: int, least_frames: int, least_size: int) -> None:
    if frames < least_frames or size < least_size:
        raise MicroLensError(
            f"encoder {name} needs num_frames >= {least_frames} and frame_size >= {least_size}, "
            f"got num_frames: {frames} and frame_size: {size}. Raise them or choose another `encoder`."
        )
