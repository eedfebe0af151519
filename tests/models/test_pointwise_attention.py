"""Pointwise aggregated attention: by hand, in blocks of any size, causal, and in bounded memory."""

import math

import pytest
import torch

from recbole_microlens.models import pointwise_attention as blocks
from recbole_microlens.models.pointwise_attention import Weighed, pointwise_attention, time_buckets

SCALE = 0.25


def drawn(batch=2, heads=2, length=7, width=3, dtype=torch.float64):
    made = torch.Generator().manual_seed(0)

    def parameter(*shape):
        return torch.randn(*shape, generator=made, dtype=dtype).requires_grad_()

    query, key, value = (parameter(batch, heads, length, width) for _ in range(3))
    times = torch.randint(0, 5000, (batch, length), generator=made).cumsum(1)
    return Weighed(query, key, parameter(length + 2), parameter(30), times), value


def by_hand(weighed, value):
    """The published equation, number by number."""
    found = torch.zeros_like(value)
    batch, heads, length, _ = value.shape
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                for j in range(i + 1):
                    score = float(weighed.query[b, h, i] @ weighed.key[b, h, j] + weighed.by_lag[i - j])
                    if weighed.times is not None:
                        seconds = abs(int(weighed.times[b, i] - weighed.times[b, j]))
                        bucket = math.floor(math.log(max(1, seconds)) / 0.301)
                        score += float(weighed.by_time[min(bucket, len(weighed.by_time) - 1)])
                    weight = score / (1 + math.exp(-score))
                    found[b, h, i] += SCALE * weight * value[b, h, j].detach()
    return found


def in_one(weighed, value):
    """All rows at once, as autograd differentiates it."""
    lag = torch.arange(value.size(2)).unsqueeze(1) - torch.arange(value.size(2))
    scores = weighed.query @ weighed.key.transpose(2, 3) + weighed.by_lag[lag.clamp(min=0)]
    if weighed.times is not None:
        apart = weighed.times.unsqueeze(2) - weighed.times.unsqueeze(1)
        scores = scores + weighed.by_time[time_buckets(apart, len(weighed.by_time))].unsqueeze(1)
    return torch.nn.functional.silu(scores).masked_fill(lag < 0, 0.0) @ value * SCALE


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("kept", [0, 1 << 18])
def test_is_the_published_equation(timed, kept, monkeypatch):
    monkeypatch.setattr(blocks, "_KEPT_NUMBERS", kept)
    weighed, value = drawn()
    weighed = weighed if timed else weighed._replace(times=None)
    with torch.no_grad():
        expected = by_hand(weighed, value)
        torch.testing.assert_close(pointwise_attention(weighed, value, SCALE), expected)
    torch.testing.assert_close(pointwise_attention(weighed, value, SCALE), expected)


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("timed", [True, False])
def test_gradients_are_those_of_the_whole_matrix_whatever_the_block(rows, timed, monkeypatch):
    monkeypatch.setattr(blocks, "_MOST_ROWS", rows)
    monkeypatch.setattr(blocks, "_KEPT_NUMBERS", 0)
    weighed, value = drawn()
    if not timed:
        weighed = weighed._replace(by_time=None, times=None)
    inputs = [value, *(each for each in weighed if each is not None and each.requires_grad)]
    expected = torch.autograd.grad(in_one(weighed, value).pow(2).sum(), inputs)
    found = torch.autograd.grad(pointwise_attention(weighed, value, SCALE).pow(2).sum(), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_large_scores_have_finite_gradients(monkeypatch):
    monkeypatch.setattr(blocks, "_KEPT_NUMBERS", 0)
    weighed, value = drawn(dtype=torch.float32)
    far = weighed._replace(query=(weighed.query.detach() * 1e4).requires_grad_())
    pointwise_attention(far, value, SCALE).sum().backward()
    for each in (far.query, far.key, far.by_lag, far.by_time, value):
        assert torch.isfinite(each.grad).all()


def test_a_bucket_is_as_wide_as_published():
    seconds = torch.tensor([0, 1, -1, 2, 3, 60, 3600, 86_400, -86_400, 31_536_000, 10**13])
    # floor(ln(s) / 0.301): ln 2 = 0.693, ln 3 = 1.099, ln 60 = 4.094, ln 3600 = 8.189, ln 86400 = 11.367, ...
    assert time_buckets(seconds, 128).tolist() == [0, 0, 0, 2, 3, 13, 27, 37, 37, 57, 99]
    assert time_buckets(seconds, 30).max() == 29


def test_a_block_is_small_whatever_the_length():
    query = torch.empty(120, 2, 512, 1, device="meta")
    sizes = [(stop - start) * 120 * 2 * 512 for start, stop in blocks._blocks(query)]
    assert sum(stop - start for start, stop in blocks._blocks(query)) == 512
    assert max(sizes) <= blocks._BLOCK_NUMBERS
