"""The video encoders of pytorchvideo and torchvision: unmodified, for any number of frames and any size."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders import released_head
from recbole_microlens.encoders.image import IMAGENET_MEAN, IMAGENET_STD, build_from_torchvision
from recbole_microlens.encoders.mvit import build_mvit, fit_mvit_positions, mvit_step
from recbole_microlens.encoders.pooling import class_token, mean_of_channels_last, mean_of_patches
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.weights import PublishedWeights, torchvision_weights

_BLOCKS = (("blocks.0",), ("blocks.1",), ("blocks.2",), ("blocks.3",), ("blocks.4",))
# C2D and I3D pool over time between their first two stages, in a block of its own.
_BLOCKS_WITH_POOLING = (("blocks.0",), ("blocks.1", "blocks.2"), ("blocks.3",), ("blocks.4",), ("blocks.5",))
_X3D_BLOCKS = (*_BLOCKS[:4], ("blocks.4", "blocks.5.pool"))
_SWIN_STAGES = (
    ("patch_embed", "pos_drop"),
    ("features.0",),
    ("features.1", "features.2"),
    ("features.3", "features.4"),
    ("features.5", "features.6", "norm"),
)
# Between two scales of MViT the tokens are pooled to half the height and width.
_MVIT_SCALES = (
    ("patch_embed", "cls_positional_encoding"),
    ("blocks.0",),
    ("blocks.1", "blocks.2"),
    tuple(f"blocks.{number}" for number in range(3, 14)),
    ("blocks.14", "blocks.15", "norm_embed"),
)


def slow_and_fast(clips: Tensor) -> list[Tensor]:
    """SlowFast's input: the fast pathway gets all frames, the slow one every fourth.

    Of five frames these are the first and the last, as in the published code of MicroLens.

    Parameters
    ----------
    clips : Tensor [N, 3, T, S, S]

    Returns
    -------
    list of Tensor
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


def _pytorchvideo(
    name: str, paper_name: str, file: str, build: Callable[[int, int], nn.Module] | None = None, **other: Any
) -> EncoderSpec:
    """A spec of pytorchvideo. Its networks share blocks, head and normalisation unless ``other`` says so."""
    url = f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/{file}"
    common: dict[str, Any] = {
        "stages": _BLOCKS,
        "head": ("blocks.5.dropout", "blocks.5.proj"),
        "released_head": released_head.BASIC,
        "feature_dim": 2048,
        "mean": (0.45, 0.45, 0.45),
        "std": (0.225, 0.225, 0.225),
    }
    return EncoderSpec(
        name=name,
        paper_name=paper_name,
        modality="video",
        build=build or partial(build_from_hub, name),
        published=PublishedWeights(url, "Apache-2.0 code, CC BY-NC weights", "Kinetics-400"),
        **(common | other),
    )


def _slowfast(name: str, paper_name: str, file: str, function: str) -> EncoderSpec:
    return _pytorchvideo(
        name,
        paper_name,
        file,
        partial(build_from_hub, function),
        head=("blocks.6.dropout", "blocks.6.proj"),
        released_head=released_head.SLOWFAST,
        feature_dim=2304,
        pathways=slow_and_fast,
    )


def _x3d(size: str, depth_factor: float) -> EncoderSpec:
    return _pytorchvideo(
        f"x3d_{size}",
        f"X3D-{size}",
        f"X3D_{size.upper()}.pyth",
        partial(build_x3d, depth_factor),
        stages=_X3D_BLOCKS,
        released_head=released_head.X3D,
    )


def _pooled_over_time(name: str, paper_name: str, file: str) -> EncoderSpec:
    return _pytorchvideo(
        name,
        paper_name,
        file,
        stages=_BLOCKS_WITH_POOLING,
        head=("blocks.6.dropout", "blocks.6.proj"),
        least_frames=2,
    )


def _mvit(clip: str, file: str) -> EncoderSpec:
    return _pytorchvideo(
        f"mvit_base_{clip}",
        f"MViT-B-{clip}",
        file,
        partial(build_mvit, f"mvit_base_{clip}"),
        stages=_MVIT_SCALES,
        head=("head.dropout", "head.proj"),
        released_head=released_head.MVIT,
        feature_dim=768,
        step=mvit_step,
        fit=fit_mvit_positions,
        pools={"cls": class_token, "mean": mean_of_patches},
    )


def _video_swin(name: str, file: str, feature_dim: int) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        paper_name="",
        modality="video",
        build=partial(build_from_torchvision, name),
        stages=_SWIN_STAGES,
        feature_dim=feature_dim,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        published=torchvision_weights(file, "Kinetics-400"),
        head=("head",),
        pools={"mean": mean_of_channels_last},
    )


VIDEO_ENCODERS = (
    EncoderSpec(
        name="r3d_18",
        paper_name="R3D-r18",
        modality="video",
        build=partial(build_from_torchvision, "r3d_18"),
        stages=(("stem",), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
        feature_dim=512,
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
        published=torchvision_weights("r3d_18-b3b3357e.pth", "Kinetics-400"),
        head=("fc",),
        least_size=16,
    ),
    _x3d("xs", depth_factor=2.2),
    _x3d("s", depth_factor=2.2),
    _x3d("m", depth_factor=2.2),
    _x3d("l", depth_factor=5.0),
    _pooled_over_time("c2d_r50", "C2D-r50", "C2D_8x8_R50.pyth"),
    _pooled_over_time("i3d_r50", "I3D-r50", "I3D_8x8_R50.pyth"),
    _pytorchvideo("slow_r50", "Slow-r50", "SLOW_8x8_R50.pyth"),
    _pytorchvideo("r3d_r50", "R3D-r50", "R2PLUS1D_16x4_R50.pyth", partial(build_from_hub, "r2plus1d_r50")),
    _pytorchvideo("csn_r101", "CSN-r101", "CSN_32x2_R101.pyth", head=("blocks.5.proj",)),
    _slowfast("slowfast_r50", "SlowFast-r50", "SLOWFAST_8x8_R50.pyth", "slowfast_r50"),
    _slowfast("slowfast_r101", "SlowFast-r101", "SLOWFAST_16x8_R101_50_50.pyth", "slowfast_16x8_r101_50_50"),
    _mvit("16x4", "MVIT_B_16x4.pyth"),
    _mvit("32x3", "MVIT_B_32x3_f294077834.pyth"),
    _video_swin("swin3d_t", "swin3d_t-7615ae03.pth", 768),
    _video_swin("swin3d_s", "swin3d_s-da41c237.pth", 768),
    _video_swin("swin3d_b", "swin3d_b_1k-24f7c7c6.pth", 1024),
)
