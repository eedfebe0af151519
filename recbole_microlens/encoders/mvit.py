"""MViT of pytorchvideo: any clip, tokens as the only state between two blocks, weights of other lengths."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from torch import Tensor, nn

from recbole_microlens.encoders.position_interpolation import interpolate_positions
from recbole_microlens.encoders.staged_forward import Step
from recbole_microlens.encoders.weights import State

_PATCH_FRAMES, _PATCH_SIZE = 2, 4


def build_mvit(function: str, frames: int, size: int) -> nn.Module:
    """MViT-B of pytorchvideo's hub.

    The patch embedding pads a clip; the position embedding must be told the padded length and size.
    """
    from pytorchvideo.models import hub

    return getattr(hub, function)(
        temporal_size=math.ceil(frames / _PATCH_FRAMES) * _PATCH_FRAMES,
        spatial_size=math.ceil(size / _PATCH_SIZE) * _PATCH_SIZE,
    )


def mvit_step(network: Any) -> Step:
    """How a module of MViT is called; the only state between two of them is tokens, [N, 1 + T * S * S, C].

    A block wants the grid of its tokens, too. Time is never pooled and the grid is square, so that the number
    of tokens gives it.
    """
    return partial(_step, network.cls_positional_encoding.patch_embed_shape[0])


def fit_mvit_positions(state: State, own: State) -> State:
    """A checkpoint with its position embeddings, which are apart by time and space, ``[1, T, C]`` and
    ``[1, H * W, C]``, interpolated to the network's.
    """
    fitted = dict(state)
    for key, grid in (("temporal", _line), ("spatial", _square)):
        key = f"cls_positional_encoding.pos_embed_{key}"
        if key in state and state[key].dim() == 3 and state[key].size(2) == own[key].size(2):
            fitted[key] = interpolate_positions(state[key], grid(state[key]), grid(own[key]))
    return fitted


def _step(frames: int, module: nn.Module, tokens: Tensor) -> Tensor:
    if not hasattr(module, "attn"):
        return module(tokens)
    side = math.isqrt((tokens.size(1) - 1) // frames)
    return module(tokens, [frames, side, side])[0]


def _line(positions: Tensor) -> tuple[int, ...]:
    return (positions.size(1),)


def _square(positions: Tensor) -> tuple[int, ...]:
    side = math.isqrt(positions.size(1))
    return side, side
