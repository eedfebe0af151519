"""Classification layers as the released code of MicroLens reads them: ``encoder_output: released``.

The heads are pytorchvideo's own. There they pool over space alone, so that dropout, the linear layer and, in
R3D-50, a softmax come before the mean over time. Dropout draws in training even where the encoder is frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.pooling import class_token

_FAST_WINDOW = 4


@dataclass(frozen=True)
class ReleasedHead:
    """How an encoder's features become logits in the released code.

    Attributes
    ----------
    modules : callable
        Network -> the modules after the pooling, in order; their weights are the network's.
    pool : callable
        What the last stage returns -> what ``modules`` take; draws nothing at random.
    adapt : callable, optional
        Changes the network once, after it was built.
    frames : int, optional
        The only length of a clip that the pooling fits; any for None.
    """

    modules: Callable[[nn.Module], list[nn.Module]]
    pool: Callable[[Any], Tensor]
    adapt: Callable[[nn.Module], None] | None = None
    frames: int | None = None


def over_space(maps: Tensor) -> Tensor:
    """Maps [N, C, T, H, W] -> [N, C, T, 1, 1]; at 224 x 224 the released pooling windows of 7 x 7."""
    return nn.functional.adaptive_avg_pool3d(maps, (None, 1, 1))


def slow_beside_fast(pathways: list[Tensor]) -> Tensor:
    """SlowFast's maps of 2 and 5 frames -> [N, C, 2, 1, 1]: of the fast pathway the means of frames 1 to 4
    and 2 to 5, so that after the mean over time the five weigh (1, 2, 2, 2, 1) / 8.
    """
    slow, fast = map(over_space, pathways)
    return torch.cat([slow, nn.functional.avg_pool3d(fast, (_FAST_WINDOW, 1, 1), stride=1)], dim=1)


def _pooled_before(features: Tensor) -> Tensor:
    return features


def _basic_head(network: Any, with_activation: bool = True) -> list[nn.Module]:
    from pytorchvideo.models.head import ResNetBasicHead

    own = network.blocks[-1]
    activation = own.activation if with_activation else None
    return [
        ResNetBasicHead(
            dropout=own.dropout, proj=own.proj, activation=activation, output_pool=own.output_pool
        )
    ]


def _x3d_head(network: Any) -> list[nn.Module]:
    """The released copy of X3D leaves out the library's softmax."""
    return _basic_head(network, with_activation=False)


def _pool_x3d_over_space(network: Any) -> None:
    """X3D pools between two layers of its head: the second one, and its ReLU, then see each frame."""
    network.blocks[-1].pool.pool = nn.AdaptiveAvgPool3d((None, 1, 1))


def _token_head(network: Any) -> list[nn.Module]:
    return [network.head.dropout, network.head.proj]


BASIC = ReleasedHead(_basic_head, over_space)
SLOWFAST = ReleasedHead(_basic_head, slow_beside_fast, frames=5)
X3D = ReleasedHead(_x3d_head, _pooled_before, _pool_x3d_over_space)
MVIT = ReleasedHead(_token_head, class_token)
