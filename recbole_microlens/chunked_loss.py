"""The in-batch softmax of long sequences: the same loss and gradients, without a matrix of all its logits.

Logits of a chunk of rows are computed, turned into their gradient, and dropped, so that memory grows with the
number of candidates and not with its product with that of targets. Occurrences of one item in the batch with
equal embeddings differ in nothing: they are one candidate, whose logit is raised by the log of their number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_NUMBERS = 1 << 24  # logits of a chunk


class Candidates(NamedTuple):
    """The columns of the softmax, C of them, by item or by occurrence.

    Attributes
    ----------
    embeddings : Tensor [C, d], float32
    shift : Tensor [C]
        What is added to a logit: the log of how many occurrences a column stands for, minus the correction.
    item : Tensor [C], int64
        The number of each column's item, from 0 on, ascending among all of the batch.
    """

    embeddings: Tensor
    shift: Tensor
    item: Tensor


def chunked_cross_entropy(
    states: Tensor,
    candidates: Candidates,
    row_user: Tensor,
    target: Tensor,
    target_shift: Tensor,
    own: Tensor,
) -> Tensor:
    """Mean cross-entropy of each row's target among all candidates but the other items of its user.

    Parameters
    ----------
    states : Tensor [R, d], float32
        Of each target, user after user.
    candidates : Candidates
    row_user : Tensor [R], int64
        Ascending.
    target : Tensor [R], int64
        The column of each row's target.
    target_shift : Tensor [R]
        What is added to the target's logit, in the place of its column's shift.
    own : Tensor [B, n], int64
        The numbers of each user's items; -1 is none.

    Returns
    -------
    Tensor
        Scalar.
    """
    return _Chunked.apply(states, candidates.embeddings, candidates, row_user, target, target_shift, own)


class _Chunked(torch.autograd.Function):
    """The loss, and its gradients with it: the softmax of a chunk is there but once."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        embeddings: Tensor,
        candidates: Candidates,
        row_user: Tensor,
        target: Tensor,
        target_shift: Tensor,
        own: Tensor,
    ) -> Tensor:
        needed = any(ctx.needs_input_grad)
        of_states = torch.empty_like(states) if needed else None
        of_embeddings = torch.zeros_like(embeddings) if needed else None
        total = states.new_zeros((), dtype=torch.float64)
        n_items = int(candidates.item.max()) + 1
        rows = max(1, _CHUNK_NUMBERS // len(embeddings))
        for chunk in torch.arange(len(states), device=states.device).split(rows):
            part = slice(int(chunk[0]), int(chunk[-1]) + 1)
            place = torch.arange(len(chunk), device=states.device)
            logits = (states[part] @ embeddings.T).add_(candidates.shift)  # [chunk, C]
            of_target = states[part].mul(embeddings[target[part]]).sum(1) + target_shift[part]
            first, last = int(row_user[part][0]), int(row_user[part][-1]) + 1
            is_own = _is_own(own[first:last], n_items)[:, candidates.item]  # [users, C]
            logits.masked_fill_(is_own[row_user[part] - first], -torch.inf)
            logits[place, target[part]] = of_target
            normaliser = logits.logsumexp(1)
            total += (normaliser - of_target).sum(dtype=torch.float64)
            if of_states is None or of_embeddings is None:
                continue
            slope = logits.sub_(normaliser.unsqueeze(1)).exp_()
            slope[place, target[part]] -= 1
            torch.matmul(slope, embeddings, out=of_states[part])
            of_embeddings.addmm_(slope.T, states[part])
        if needed:
            ctx.save_for_backward(of_states, of_embeddings)
        ctx.rows = len(states)
        return (total / len(states)).to(states.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_embeddings = ctx.saved_tensors
        share = outer / ctx.rows
        return of_states * share, of_embeddings * share, None, None, None, None, None


def _is_own(own: Tensor, n_items: int) -> Tensor:
    """Which items are a user's, [users, n_items] bool; ``own`` has -1 where there is none."""
    found = torch.zeros(len(own), n_items + 1, dtype=torch.bool, device=own.device)
    found.scatter_(1, torch.where(own < 0, n_items, own), True)
    return found[:, :n_items]
