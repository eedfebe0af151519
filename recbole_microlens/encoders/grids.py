"""Tables of position embeddings, fitted to another number of frames and another size of picture."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Grid = tuple[int, int, int]


def resize_positions(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """Interpolate a learned table of position embeddings; what stands before the grid is kept as it is.

    Parameters
    ----------
    table : [..., P + t * h * w, d], the P leading rows belong to class tokens; the others are in the order
        time, height, width.
    old, new : ``(t, h, w)`` of the table and of what is wanted. Space is resized bicubically, time linearly.

    Raises
    ------
    ValueError
        If the table has fewer rows than its grid.
    """
    n_class = table.shape[-2] - old[0] * old[1] * old[2]
    if n_class < 0:
        raise ValueError(f"a table of {table.shape[-2]} positions has no grid {old}")
    if old == new:
        return table
    dim, rows = table.shape[-1], table.reshape(-1, table.shape[-1]).float()
    maps = rows[n_class:].view(*old, dim).permute(0, 3, 1, 2)  # [t, d, h, w]
    if old[1:] != new[1:]:
        maps = interpolate(maps, size=new[1:], mode="bicubic", align_corners=False)
    if old[0] != new[0]:
        lines = maps.permute(1, 2, 3, 0).reshape(1, -1, old[0])
        lines = interpolate(lines, size=new[0], mode="linear", align_corners=False)
        maps = lines.view(dim, *new[1:], new[0]).permute(3, 0, 1, 2)
    grid = maps.permute(0, 2, 3, 1).reshape(-1, dim)
    resized = torch.cat([rows[:n_class], grid]).to(table.dtype)
    return resized.view(*table.shape[:-2], len(resized), dim)
