"""Position embeddings of another length: a checkpoint's, made to fit a network's grid of patches."""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Grid = tuple[int, int, int]  # of time, height and width


def interpolate_positions(positions: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Position embeddings of a grid of patches -> those of another grid over the same clip or image.

    Space is interpolated bicubically, time linearly; a patch counts as its centre. Tokens in front of the
    patches (class, registers) are kept as they are.

    Parameters
    ----------
    positions : Tensor [1, tokens in front + number of patches in ``old``, C]
        Or without the first dimension.
    old, new : tuple of int
        Grids of the same kind: (T,) of frames, (H, W) of patches, or (T, H, W) of both.

    Returns
    -------
    Tensor [1, tokens in front + number of patches in ``new``, C]
        As many dimensions as ``positions``, which it is if the grids are equal.

    Raises
    ------
    ValueError
        The grids are of different kinds, or ``positions`` is shorter than ``old``.
    """
    rows = positions.reshape(-1, positions.size(-1))
    in_front = len(rows) - math.prod(old)
    if len(old) != len(new) or in_front < 0:
        raise ValueError(f"positions {list(positions.shape)} of grid {old} do not fit grid {new}")
    if tuple(old) == tuple(new):
        return positions
    maps = rows[in_front:].float().view(*old, -1).movedim(-1, 0)  # [C, *old]
    if len(old) != 2:
        maps = _resize_time(maps, new[0])
    if len(old) != 1:
        maps = _resize_space(maps, new[-2:])
    patches = maps.movedim(0, -1).reshape(math.prod(new), -1).to(positions.dtype)
    return torch.cat([rows[:in_front], patches]).view(*positions.shape[:-2], -1, positions.size(-1))


def _resize_time(maps: Tensor, frames: int) -> Tensor:
    rows = maps.flatten(2).movedim(1, -1) if maps.dim() > 2 else maps.unsqueeze(1)  # [C, H * W or 1, T]
    rows = interpolate(rows, size=frames, mode="linear", align_corners=False)
    return rows.movedim(-1, 1).reshape(maps.size(0), frames, *maps.shape[2:])


def _resize_space(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    images = maps.movedim(0, -3)  # [(T,) C, H, W]
    images = images if images.dim() == 4 else images.unsqueeze(0)
    images = interpolate(images, size=tuple(size), mode="bicubic", align_corners=False)
    return images.movedim(-3, 0).reshape(maps.size(0), *maps.shape[1:-2], *size)
