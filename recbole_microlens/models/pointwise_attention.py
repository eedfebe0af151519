"""Pointwise aggregated attention, that of HSTU, a block of rows at a time: no matrix [B, H, L, L] is kept.

Source: Zhai et al., "Actions speak louder than words: trillion-parameter sequential transducers for
generative recommendations", ICML 2024 (arXiv 2402.17152), section 3.2: SiLU in the place of the softmax, and
a bias of relative position and time. torch's flex-attention always normalises with a softmax, and cannot
express it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Of the published code: a bucket of time differences is 0.301 wide, in the log of seconds.
_BUCKET_WIDTH = 0.301
# A block is [B, H, rows, L]; few rows skip more of the later keys, and more of them take fewer calls.
_BLOCK_NUMBERS = 1 << 22
_MOST_ROWS = 64
# Numbers of the whole matrix up to which autograd keeps it: computing it again would take longer.
_KEPT_NUMBERS = 1 << 18


class Weighed(NamedTuple):
    """What the weights of an attention are computed from.

    Attributes
    ----------
    query, key : Tensor [B, H, L, dq]
    by_lag : Tensor [n]
        The bias of relative positions 0 to n - 1, the same for all heads; n is at least L.
    by_time : Tensor [buckets], optional
        The bias of time differences, see :func:`time_buckets`; not read without ``times``.
    times : Tensor [B, L], optional
        Seconds, whole ones, from any origin; those of padding are not read.
    """

    query: Tensor
    key: Tensor
    by_lag: Tensor
    by_time: Tensor | None = None
    times: Tensor | None = None


def time_buckets(seconds: Tensor, n_buckets: int) -> Tensor:
    """The bucket of each time difference: ``floor(log(max(1, |seconds|)) / 0.301)``, at most the last.

    Parameters
    ----------
    seconds : Tensor [...]
        Differences of either sign.
    n_buckets : int
        Buckets are 0 to ``n_buckets - 1``; the 96th begins at 100,000 years.

    Returns
    -------
    Tensor [...], int64
    """
    logs = seconds.abs().clamp(min=1).to(torch.float32).log() / _BUCKET_WIDTH
    return logs.long().clamp(max=n_buckets - 1)


def pointwise_attention(weighed: Weighed, value: Tensor, scale: float) -> Tensor:
    """``scale * sum over j <= i of silu(q_i . k_j + b_ij) v_j``: causal, and exact whatever the block.

    The bias b_ij is ``by_lag[i - j]`` and, where times are given, ``by_time`` at the bucket of
    ``times[i] - times[j]``. Where the matrix is not small, the backward pass computes each block again, so
    that memory grows with L and not with its square.

    Parameters
    ----------
    weighed : Weighed
    value : Tensor [B, H, L, dv]
    scale : float

    Returns
    -------
    Tensor [B, H, L, dv]
    """
    batch, heads, length, _ = weighed.query.shape
    is_exported = torch.jit.is_tracing() or torch.compiler.is_exporting()
    if is_exported or batch * heads * length**2 <= _KEPT_NUMBERS:
        return _weights(weighed, 0, length, _later(0, length, value.device)) @ value * scale
    if torch.is_grad_enabled():
        return _Blockwise.apply(value, scale, *weighed)
    return _aggregate(weighed, value, scale)


class _Blockwise(torch.autograd.Function):
    """The same with a backward pass that keeps its inputs alone."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, scale: float, *given: Tensor | None) -> Tensor:
        ctx.save_for_backward(value, *given)
        ctx.scale = scale
        return _aggregate(Weighed(*given), value, scale)  # type: ignore[arg-type]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        value, *given = ctx.saved_tensors
        weighed, outer = Weighed(*given), outer * ctx.scale
        query, key = weighed.query, weighed.key
        of_query, of_key, of_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        of_lag = weighed.by_lag.new_zeros(len(weighed.by_lag))
        of_time = None if weighed.times is None else torch.zeros_like(weighed.by_time)  # type: ignore[arg-type]
        for start, stop in _blocks(query):
            later = _later(start, stop, query.device)
            buckets = _buckets(weighed, start, stop)
            scores = _scores(weighed, start, stop, buckets)
            rows, keys = slice(start, stop), slice(stop)
            gate = scores.sigmoid()
            weights = scores.mul_(gate).masked_fill_(later, 0.0)  # silu(s) = s sigmoid(s)
            of_value[:, :, keys] += weights.transpose(2, 3) @ outer[:, :, rows]
            # silu'(s) = sigmoid(s) + silu(s) (1 - sigmoid(s))
            slope = weights.addcmul(weights, gate, value=-1).add_(gate)
            of_scores = (outer[:, :, rows] @ value[:, :, keys].transpose(2, 3)).mul_(slope)
            of_scores.masked_fill_(later, 0.0)
            of_query[:, :, rows] = of_scores @ key[:, :, keys]
            of_key[:, :, keys] += of_scores.transpose(2, 3) @ query[:, :, rows]
            of_bias = of_scores.sum(1, dtype=of_lag.dtype)  # [B, rows, keys]
            _add_at(of_lag, _lags(start, stop, query.device).clamp(min=0), of_bias.sum(0))
            if buckets is not None and of_time is not None:
                _add_at(of_time, buckets, of_bias)
        return of_value, None, of_query, of_key, of_lag, of_time, None


def _aggregate(weighed: Weighed, value: Tensor, scale: float) -> Tensor:
    found = torch.empty_like(value)
    for start, stop in _blocks(weighed.query):
        weights = _weights(weighed, start, stop, _later(start, stop, value.device))
        found[:, :, start:stop] = weights @ value[:, :, :stop]
    return found.mul_(scale)


def _blocks(query: Tensor) -> Iterator[tuple[int, int]]:
    """From which row to which; a block sees the keys up to its last row."""
    batch, heads, length, _ = query.shape
    rows = max(1, min(_BLOCK_NUMBERS // max(batch * heads * length, 1), _MOST_ROWS))
    return ((start, min(start + rows, length)) for start in range(0, length, rows))


def _lags(start: int, stop: int, device: torch.device) -> Tensor:
    """How far back each key lies from each row, [stop - start, stop]; below 0 where it is later."""
    return torch.arange(start, stop, device=device).unsqueeze(1) - torch.arange(stop, device=device)


def _later(start: int, stop: int, device: torch.device) -> Tensor:
    return _lags(start, stop, device) < 0


def _buckets(weighed: Weighed, start: int, stop: int) -> Tensor | None:
    """[B, rows, keys]"""
    times = weighed.times
    if times is None or weighed.by_time is None:
        return None
    differences = times[:, start:stop].unsqueeze(2) - times[:, :stop].unsqueeze(1)
    return time_buckets(differences, len(weighed.by_time))


def _scores(weighed: Weighed, start: int, stop: int, buckets: Tensor | None) -> Tensor:
    """q . k + b, [B, H, rows, keys]"""
    query, key, by_lag, by_time, _ = weighed
    scores = query[:, :, start:stop] @ key[:, :, :stop].transpose(2, 3)
    bias = by_lag[_lags(start, stop, query.device).clamp(min=0)].unsqueeze(0)
    if buckets is not None and by_time is not None:
        bias = bias + by_time[buckets]
    return scores.add_(bias.unsqueeze(1))


def _weights(weighed: Weighed, start: int, stop: int, later: Tensor) -> Tensor:
    scores = _scores(weighed, start, stop, _buckets(weighed, start, stop))
    return torch.nn.functional.silu(scores).masked_fill(later, 0.0)


def _add_at(sums: Tensor, places: Tensor, numbers: Tensor) -> None:
    """Add each number at its place; on a GPU in one order, so that a run repeats itself."""
    if sums.is_cuda:
        sums.index_put_((places.flatten(),), numbers.flatten().to(sums.dtype), accumulate=True)
    else:
        sums += torch.bincount(places.flatten(), numbers.flatten(), minlength=len(sums)).to(sums.dtype)
