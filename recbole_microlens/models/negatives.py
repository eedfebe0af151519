"""In-batch negatives over several processes: the candidates of one big batch, the targets of a part of it."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_microlens import distributed


def with_sequences_of_all(
    states: Tensor, embeddings: Tensor, item_ids: Tensor, target_mask: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What :func:`~recbole_microlens.losses.in_batch_softmax` takes, with every process's sequences.

    The targets stay those of this process, so that the processes' losses add up to that of the whole batch.
    The other sequences' embeddings come with their gradients.

    Parameters
    ----------
    states : Tensor [b, L, D]
        Of this process, and so are the others.
    embeddings : Tensor [b, L + 1, D]
    item_ids : Tensor [b, L + 1]
    target_mask : Tensor [b, L], bool

    Returns
    -------
    tuple[Tensor, Tensor, Tensor, Tensor]
        The same four for all B sequences, [B, ...]; a sequence of another process has zeros for states and no
        target.
    """
    if distributed.world_size() == 1:
        return states, embeddings, item_ids, target_mask
    most = distributed.all_reduce_max(len(item_ids), embeddings.device)
    first, total = most * distributed.rank(), most * distributed.world_size()
    return (
        _placed(states, first, total),
        distributed.all_gather_with_gradient(_placed(embeddings, 0, most)),
        distributed.all_gather_rows(_placed(item_ids, 0, most)),
        _placed(target_mask, first, total),
    )


def with_items_of_all(item_ids: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct items of all processes' batches, the embeddings with their gradients.

    Parameters
    ----------
    item_ids : Tensor [u]
        Distinct, of this process.
    embeddings : Tensor [u, d]

    Returns
    -------
    tuple[Tensor, Tensor]
        [U] in ascending order, and [U, d]. An item of several processes is encoded by the first of them.
    """
    if distributed.world_size() == 1:
        return item_ids, embeddings
    most = distributed.all_reduce_max(len(item_ids), embeddings.device)
    ids = distributed.all_gather_rows(_placed(item_ids, 0, most))  # 0 where a process has fewer
    gathered = distributed.all_gather_with_gradient(_placed(embeddings, 0, most))
    rows = ids.nonzero()[:, 0]
    distinct, number = ids[rows].unique(return_inverse=True)
    first_row = torch.full_like(distinct, len(ids)).scatter_reduce(0, number, rows, "amin")
    return distinct, gathered[first_row]


def _placed(rows: Tensor, first: int, total: int) -> Tensor:
    """The rows from number ``first`` on among ``total``, the others zero."""
    before = rows.new_zeros((first, *rows.shape[1:]))
    after = rows.new_zeros((total - first - len(rows), *rows.shape[1:]))
    return torch.cat([before, rows, after])
