"""The k best items of each row of scores, what ``torch.topk`` gives in half the time on a CPU, and which are
hits.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DEPTH = 8  # items in a column; few enough that the columns' best are found by whole vectors


def top_items(scores: Tensor, k: int) -> Tensor:
    """The columns of the k largest scores of each row, largest first, ties in the order of ``torch.topk``.

    Parameters
    ----------
    scores : Tensor [B, n_items]

    Returns
    -------
    Tensor [B, k], int64
    """
    if scores.device.type != "cpu" or scores.size(1) < 8 * _DEPTH * k:
        return scores.topk(k).indices
    columns, values = _best_of_best_columns(scores, k + 1)
    # Without ties the answer is the only one; with them it is whatever torch.topk makes of the whole row.
    tied = (~(values[:, 1:] < values[:, :-1]).all(dim=1)).nonzero()[:, 0]
    if len(tied):
        columns[tied, :k] = scores[tied].topk(k).indices
    return columns[:, :k]


def hit_rows(top: Tensor, positive_u: Tensor, positive_i: Tensor) -> Tensor:
    """Which of each user's top items are positives, and how many positives the user has.

    Parameters
    ----------
    top : Tensor [B, k], int64
        A user's top items, best first.
    positive_u, positive_i : Tensor [P], int64
        The positives as (row, item) pairs; a pair given twice counts once.

    Returns
    -------
    Tensor [B, k + 1], int64
        k zeros and ones, then the number of positives.
    """
    pairs = (positive_u << 32 | positive_i).unique()
    row, item = pairs >> 32, pairs & 0xFFFFFFFF
    is_hit = top[row] == item.unsqueeze(1)  # [P, k]
    counted = torch.cat([is_hit, torch.ones_like(is_hit[:, :1])], dim=1).long()
    return top.new_zeros(len(top), top.size(1) + 1).index_add_(0, row, counted)


def _best_of_best_columns(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Columns and values [B, count] of the largest scores, found among those beside the largest.

    With the items laid out as a table of ``_DEPTH`` rows, the ``count`` largest scores are in the ``count``
    table columns whose largest scores are largest, or in what did not fit into the table.
    """
    width = scores.size(1) // _DEPTH
    in_table = width * _DEPTH
    best = scores[:, :in_table].reshape(len(scores), _DEPTH, width).amax(dim=1)  # [B, width]
    chosen = best.topk(count).indices.unsqueeze(2) + torch.arange(0, in_table, width)  # [B, count, depth]
    left_over = torch.arange(in_table, scores.size(1)).expand(len(scores), -1)
    candidates = torch.cat([chosen.flatten(1), left_over], dim=1)
    values, place = scores.gather(1, candidates).topk(count)
    return candidates.gather(1, place), values
