"""Groups of targets and their metrics, against cases that can be counted by hand."""

import numpy as np
import pytest

from recbole_microlens.evaluation.groups import TargetGroups
from recbole_microlens.evaluation.ranks import Ranks
from recbole_microlens.evaluation.target_groups import (
    equal_groups,
    metric_by_group,
    popularity_groups,
    ratios,
)


def ranks_of(rank, train_count, row=None):
    n = len(rank)
    names = np.array([f"u{k}" for k in range(n)]), np.array([f"i{k}" for k in range(n)])
    return Ranks(
        *names,
        rank=np.array(rank, dtype=np.int32),
        train_count=np.array(train_count),
        history_length=np.full(n, 5, dtype=np.int32),
        row=np.arange(n, dtype=np.int32) if row is None else np.array(row, dtype=np.int32),
    )


def test_groups_are_of_equal_size_and_named_by_their_range():
    groups = equal_groups(np.array([7, 1, 3, 2, 8, 1500]), 3)
    assert [group.label for group in groups] == ["1-2", "3-7", "8-1,500"]
    assert [group.members.tolist() for group in groups] == [
        [False, True, False, True, False, False],
        [True, False, True, False, False, False],
        [False, False, False, False, True, True],
    ]


def test_equal_values_are_in_one_group():
    groups = equal_groups(np.array([1] * 6 + [2, 3]), 4)
    assert [(group.label, len(group)) for group in groups] == [("1", 6), ("2-3", 2)]


@pytest.mark.parametrize("number", [2, 3, 7, 50])
def test_every_target_is_in_one_group(number):
    values = np.random.default_rng(number).geometric(0.2, 300)
    groups = equal_groups(values, number)
    assert (sum(group.members.astype(int) for group in groups) == 1).all()
    highs = [values[group.members].max() for group in groups]
    lows = [values[group.members].min() for group in groups]
    assert all(high < low for high, low in zip(highs, lows[1:], strict=False))


def test_unseen_targets_are_a_group_of_their_own():
    groups = popularity_groups(np.array([0, 4, 0, 9]), 2)
    assert [(group.label, group.members.tolist()) for group in groups] == [
        ("0", [True, False, True, False]),
        ("4", [False, True, False, False]),
        ("9", [False, False, False, True]),
    ]
    assert [group.label for group in popularity_groups(np.array([0, 0]), 2)] == ["0"]
    assert [group.label for group in popularity_groups(np.array([3, 5]), 2)] == ["3", "5"]


def test_a_metric_counts_the_targets_of_the_group_alone():
    ranks = ranks_of([1, 3, 11, 2, 50, 10], [0, 0, 0, 5, 5, 9])
    groups = popularity_groups(ranks.train_count, 2)
    assert metric_by_group(ranks, groups, "hit@10") == pytest.approx([2 / 3, 1 / 2, 1.0])
    expected = [(1 + 1 / 2) / 3, 1 / np.log2(3) / 2, 1 / np.log2(11)]
    assert metric_by_group(ranks, groups, "ndcg@10") == pytest.approx(expected)


def test_groups_have_the_metrics_that_the_result_of_a_run_has():
    """One list may have several targets: those of another group neither help nor harm."""
    import torch
    from recbole.evaluator import Evaluator

    generator = torch.Generator().manual_seed(3)
    counts = torch.tensor([0, 0, 2, 9, 3, 0, 50, 1, 4, 7])
    scores = torch.rand(6, 10, generator=generator)
    positives = (torch.rand(6, 10, generator=generator) < 0.4).nonzero()
    order = scores.argsort(dim=1, descending=True).argsort(dim=1) + 1
    groups = TargetGroups(counts)
    groups.collect(scores.topk(3).indices, *positives.T)
    config = {"metrics": ["Hit", "NDCG", "Recall"], "topk": [3], "metric_decimal_place": 10}
    expected = groups.results(Evaluator(config))
    user, item = positives.T.numpy()
    ranks = ranks_of(order.numpy()[user, item], counts.numpy()[item], user)
    found = popularity_groups(ranks.train_count, 1)
    assert [group.label for group in found][0] == "0" and len(found) == 2
    for metric in ("hit@3", "ndcg@3", "recall@3"):
        value = metric_by_group(ranks, found[:1], metric)[0]
        assert value == pytest.approx(expected["unseen"][metric], abs=1e-9)


def test_a_ratio_to_nothing_is_none():
    assert ratios([0.5, 0.2, None, 0.3], [0.25, 0.0, 0.5, None]) == [2.0, None, None, None]
