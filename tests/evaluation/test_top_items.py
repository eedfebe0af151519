"""The best items of each row are those of ``torch.topk``, ties, NaN and rows of minus infinity included."""

import pytest
import torch

from recbole_microlens.evaluation import top_items as module
from recbole_microlens.evaluation.top_items import top_items

INFINITY = float("inf")


def rows(kind):
    scores = torch.randn(300, 1003, generator=torch.Generator().manual_seed(5))
    if kind == "ties":
        scores = (scores * 8).round()
    elif kind == "mostly left out":
        scores[:, 7:] = -INFINITY
    elif kind == "NaN":
        scores[::3, ::50] = float("nan")
    elif kind == "best side by side":
        scores[:, 500:520] += 100
    elif kind == "best at the end":
        scores[:, -4:] += 100
    return scores


KINDS = ["distinct", "ties", "mostly left out", "NaN", "best side by side", "best at the end"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 10])
def test_top_items_are_those_of_topk(kind, k):
    scores = rows(kind)
    before = scores.clone()
    assert torch.equal(top_items(scores, k), scores.topk(k).indices)
    torch.testing.assert_close(scores, before, rtol=0, atol=0, equal_nan=True)


def test_rows_without_ties_are_not_sorted_twice(monkeypatch):
    sizes = []
    topk = torch.Tensor.topk
    monkeypatch.setattr(torch.Tensor, "topk", lambda t, k: sizes.append(t.size(1)) or topk(t, k))
    scores = torch.stack([torch.randperm(1003) for _ in range(20)]).float()
    top_items(scores, 10)
    assert max(sizes) < scores.size(1) // 4


def test_few_items_are_ranked_at_once(monkeypatch):
    monkeypatch.setattr(module, "_best_of_best_columns", None)
    scores = torch.rand(4, 100)
    assert torch.equal(top_items(scores, 20), scores.topk(20).indices)
