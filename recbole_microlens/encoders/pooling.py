"""From what the last stage of a network returns to one feature vector an item."""

import torch
from torch import Tensor

from recbole_microlens.encoders.walk import Features


def mean_of_maps(features: Features) -> Tensor:
    """Mean over time and space of every pathway [N, C, ...], side by side: [N, feature_dim]."""
    pathways = features if isinstance(features, list) else [features]
    return torch.cat([_mean_of_map(maps) if maps.dim() > 2 else maps for maps in pathways], dim=1)


def _mean_of_map(maps: Tensor) -> Tensor:
    # In the order of channels-last maps, so that the gradient has it, too.
    return mean_of_channels_last(maps.movedim(1, -1))


def mean_of_channels_last(features: Tensor) -> Tensor:
    """Mean over time and space of maps [N, ..., C]: [N, C]."""
    return features.flatten(1, -2).mean(1)


def class_token(features: Tensor) -> Tensor:
    """The first of the tokens [N, tokens, C]: [N, C]."""
    return features[:, 0]


def mean_of_patches(features: Tensor) -> Tensor:
    """Mean of all tokens [N, tokens, C] but the first: [N, C]."""
    return features[:, 1:].mean(1)
