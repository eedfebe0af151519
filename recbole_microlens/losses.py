"""The training loss: in-batch softmax over the items of a batch, corrected for popularity.

Source: MicroLens (arXiv 2309.15379), section 3.2, and the loss of its published code; the correction is that
of Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_microlens.chunked_loss import Candidates, chunked_cross_entropy

# Logits from which on they are computed in chunks: 256 MiB of them.
_CHUNKED_FROM = 1 << 26


def log_popularity(train_counts: Tensor) -> Tensor:
    """Natural log of each item's share of the training interactions.

    Parameters
    ----------
    train_counts : Tensor [n_items + 1]
        Training interactions per item; index 0 is padding.

    Returns
    -------
    Tensor [n_items + 1], float32
        0 at index 0. An item that never occurs in training gets the share of one interaction, so that the
        correction of a cold item stays finite.
    """
    counts = train_counts.double().clone()
    counts[0] = 0
    shares = counts.clamp(min=1) / counts.sum().clamp(min=1)
    shares[0] = 1
    return shares.log().float()


def log_absence(sample_counts: Tensor, n_samples: int) -> Tensor:
    """Natural log of the probability that a training sample does not contain an item.

    Parameters
    ----------
    sample_counts : Tensor [n_items + 1]
        Training samples that contain each item; index 0 is padding.
    n_samples : int
        Training samples in all.

    Returns
    -------
    Tensor [n_items + 1], float32
        An item in no sample counts as one in one sample.
    """
    shares = sample_counts.double().clamp(min=1, max=max(n_samples, 1)) / max(n_samples, 1)
    return torch.log1p(-shares).float()


def log_presence(log_absence: Tensor, n_samples: int) -> Tensor:
    """Natural log of the probability that an item is in at least one of some samples, drawn independently.

    ``log(1 - (1 - p)^n)``: the correction of an item that is a candidate once if it is in the batch,
    however often it occurs there. (:func:`in_batch_softmax` has a column for each occurrence: log p.)

    Parameters
    ----------
    log_absence : Tensor [...]
        log(1 - p) of each item; see :func:`log_absence`.
    n_samples : int
        n, the samples that the candidates come from.
    """
    return torch.log(-torch.expm1(log_absence * n_samples))


def in_batch_softmax(
    user_states: Tensor,
    item_embeddings: Tensor,
    item_ids: Tensor,
    target_mask: Tensor,
    log_popularity: Tensor,
) -> Tensor:
    """Cross-entropy of each target against all items of the batch, mean over the real targets.

    The candidates are all real slots of all sequences, a column for each occurrence. From a logit the
    candidate's ``log_popularity`` is subtracted. Candidates whose item is anywhere in the row's own sequence
    are left out, except for the row's own target.

    Parameters
    ----------
    user_states : Tensor [B, L, D]
        Output of the backbone at each input position.
    item_embeddings : Tensor [B, L + 1, D]
        Embedding of each id in ``item_ids``.
    item_ids : Tensor [B, L + 1]
        A user's sequence: the first L are inputs, the last L targets; 0 is padding, on any side.
    target_mask : Tensor [B, L], bool
        True where ``item_ids[:, t + 1]`` is a real target of position t.
    log_popularity : Tensor [n_items + 1]
        Natural log of the share of training interactions, 0 for padding.

    Returns
    -------
    Tensor
        Scalar loss; 0 (with zero gradients) for a batch without a target. Memory is twice (real targets) x
        (real slots) floats: the logits, and the log-softmax that cross-entropy keeps for its gradient. Above
        2^26 logits they are computed in chunks, with the same loss and the same gradient of an item: where
        its occurrences have equal embeddings, the first one gets the gradient of all.
    """
    if not target_mask.any():
        return (user_states.sum() + item_embeddings.sum()) * 0.0
    if int(target_mask.sum()) * int((item_ids != 0).sum()) > _CHUNKED_FROM:
        return _in_chunks(user_states, item_embeddings, item_ids, target_mask, log_popularity)
    return F.cross_entropy(
        *in_batch_logits(user_states, item_embeddings, item_ids, target_mask, log_popularity)
    )


def _in_chunks(
    user_states: Tensor,
    item_embeddings: Tensor,
    item_ids: Tensor,
    target_mask: Tensor,
    log_popularity: Tensor,
) -> Tensor:
    is_slot = item_ids != 0
    slot_ids, slots = item_ids[is_slot], item_embeddings[is_slot].float()  # [S], [S, D]
    distinct, number, times = slot_ids.unique(return_inverse=True, return_counts=True)
    row_user, row_position = target_mask.nonzero(as_tuple=True)
    slot_number = is_slot.flatten().cumsum(0).view_as(item_ids) - 1
    target = slot_number[row_user, row_position + 1]
    correction = _finite_correction(log_popularity, slot_ids)
    target_shift, place = -correction[target], torch.arange(len(slot_ids), device=slot_ids.device)
    first = torch.full_like(distinct, len(place)).scatter_reduce(0, number, place, "amin")
    if torch.equal(slots, slots[first[number]]):
        candidates = Candidates(
            slots[first], times.log() - correction[first], torch.arange(len(first)).to(place)
        )
        target = number[target]
    else:  # as where several processes encode an item with dropout
        candidates = Candidates(slots, -correction, number)
    own = torch.full_like(item_ids, -1)
    own[is_slot] = number
    with torch.autocast(user_states.device.type, enabled=False):
        states = user_states[target_mask].float()
        return chunked_cross_entropy(states, candidates, row_user, target, target_shift, own)


def in_batch_logits(
    user_states: Tensor,
    item_embeddings: Tensor,
    item_ids: Tensor,
    target_mask: Tensor,
    log_popularity: Tensor,
) -> tuple[Tensor, Tensor]:
    """The logits of :func:`in_batch_softmax`, which takes the same, and where in them the targets are.

    Returns
    -------
    logits : Tensor [R, S], float32
        A row for each real target, a column for each real slot; -inf where a candidate is left out.
    target_column : Tensor [R], int64
    """
    is_slot = item_ids != 0  # [B, L + 1]
    slot_ids = item_ids[is_slot]  # [S]
    row_user, row_position = target_mask.nonzero(as_tuple=True)  # [R], [R]
    slot_number = is_slot.flatten().cumsum(0).view_as(item_ids) - 1  # column of each real slot
    target_column = slot_number[row_user, row_position + 1]  # [R]
    with torch.autocast(user_states.device.type, enabled=False):
        logits = user_states[target_mask].float() @ item_embeddings[is_slot].float().T  # [R, S]
    # In place and unseen by autograd: a constant has no gradient, and a softmax of zero passes none on.
    with torch.no_grad():
        logits -= _finite_correction(log_popularity, slot_ids)
        _leave_out_own_items(logits, target_mask, target_column, *_columns_of_own_items(is_slot, slot_ids))
    return logits, target_column


def pair_softmax(users: Tensor, items: Tensor, item_ids: Tensor, log_popularity: Tensor) -> Tensor:
    """Cross-entropy of each pair's item against the items of all pairs of the batch, mean over the pairs.

    From a logit the candidate's ``log_popularity`` is subtracted. Other pairs of the row's own item are left
    out as its candidates; the user's other items are not.

    Parameters
    ----------
    users, items : Tensor [B, D]
        The vectors of each pair's user and item.
    item_ids : Tensor [B], int64
        The pairs' items.
    log_popularity : Tensor [n_items + 1]
        Natural log of the share of training interactions.

    Returns
    -------
    Tensor
        Scalar loss.
    """
    logits = users.float() @ items.float().T  # [B, B]
    with torch.no_grad():
        logits -= _finite_correction(log_popularity, item_ids)
        is_own = item_ids.unsqueeze(1) == item_ids
        is_own.fill_diagonal_(False)
        logits.masked_fill_(is_own, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _finite_correction(log_popularity: Tensor, slot_ids: Tensor) -> Tensor:
    """The correction of each slot; the log of a zero share counts as the smallest share that is not zero."""
    correction = log_popularity.float()[slot_ids]
    unseen = torch.isneginf(correction)
    smallest = log_popularity.float().masked_fill(torch.isneginf(log_popularity), 0.0).min()
    return torch.where(unseen, smallest, correction)


def _columns_of_own_items(is_slot: Tensor, slot_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs (user b, column s), flat: the item of slot s is in the sequence of user b."""
    distinct, inverse, counts = slot_ids.unique(return_inverse=True, return_counts=True)
    by_item = inverse.argsort(stable=True)
    start = counts.cumsum(0) - counts
    owned = (is_slot.nonzero()[:, 0] * len(distinct) + inverse).unique()
    user, item = owned // len(distinct), owned % len(distinct)
    times = counts[item]
    before = times.cumsum(0) - times
    within = torch.arange(int(times.sum()), device=times.device) - before.repeat_interleave(times)
    return user.repeat_interleave(times), by_item[start[item].repeat_interleave(times) + within]


def _leave_out_own_items(
    logits: Tensor, target_mask: Tensor, target_column: Tensor, user: Tensor, column: Tensor
) -> None:
    """Write -inf into each row of a user at the columns of their items, except for the row's own target."""
    rows = torch.arange(len(logits), device=logits.device)
    of_targets = logits[rows, target_column]
    row_number = target_mask.flatten().cumsum(0).view_as(target_mask) - 1
    for position in range(target_mask.size(1)):
        has_row = target_mask[user, position]
        logits[row_number[user[has_row], position], column[has_row]] = -torch.inf
    logits[rows, target_column] = of_targets


def softmax_of_columns(
    scores: Tensor, candidates: Tensor, times: Tensor, rows: Tensor, log_popularity: Tensor
) -> Tensor:
    """In-batch softmax of one target a row, where a candidate that is in the batch n times has one score.

    As :func:`in_batch_softmax`: every real slot of ``rows`` is a column, log popularity is subtracted, and
    columns with an item of the row are left out but for its target. Columns of one item differ in nothing,
    so that their sum in the softmax is the score plus log n.

    Parameters
    ----------
    scores : Tensor [B, D]
        Of each row's history with each candidate.
    candidates : Tensor [D], int64
        The distinct items of ``rows``, ascending, padding left out.
    times : Tensor [D], int64
        How often each occurs there.
    rows : Tensor [B, L + 1], int64
        The items of a row, 0 where there is none; the last is the target.
    log_popularity : Tensor [n_items + 1]
        Natural log of the share of training interactions, 0 for padding.

    Returns
    -------
    Tensor
        Scalar, the mean over rows.
    """
    target = torch.searchsorted(candidates, rows[:, -1:].contiguous())  # [B, 1]
    own = torch.where(rows == 0, target, torch.searchsorted(candidates, rows))
    correction = _finite_correction(log_popularity, candidates).to(scores.dtype)
    with torch.no_grad():
        shift = (times.to(scores.dtype).log() - correction).expand_as(scores).clone()
        shift.scatter_(1, own, -torch.inf)
        shift.scatter_(1, target, -correction[target])
    return F.cross_entropy(scores + shift, target.squeeze(1))
