"""Metrics on unseen, rare and frequent targets: by a hand-computed example, and of whole runs of every
kind.
"""

from collections import Counter
from math import log2
from pathlib import Path

import pytest
import torch
from quick import some
from recbole.evaluator import Evaluator

from recbole_microlens.config import Config
from recbole_microlens.evaluation.groups import TargetGroups
from recbole_microlens.quick_start import load, run


@pytest.fixture
def evaluator(settings):
    exact = {"topk": [1, 3], "valid_metric": "Hit@3", "metric_decimal_place": 12}
    return Evaluator(Config("SASRec", "tiny", config_dict=settings | exact))


def test_groups_of_a_hand_computed_example(evaluator):
    counts = torch.tensor([0, 0, 3, 4, 0, 9])  # of the items 0 (padding) to 5
    groups = TargetGroups(counts)
    # The targets: item 1 on rank 2, item 2 on rank 1, item 3 not found, item 5 on rank 3, item 4 not found.
    groups.collect(torch.tensor([[2, 1, 3], [2, 5, 4]]), torch.tensor([0, 1]), torch.tensor([1, 2]))
    top = torch.tensor([[1, 2, 4], [3, 4, 5], [5, 3, 2]])
    groups.collect(top, torch.tensor([0, 1, 2]), torch.tensor([3, 5, 4]))
    found = groups.results(evaluator)
    second, third = 1 / log2(3), 1 / log2(4)
    expected = {
        "unseen": (2, 0, 1 / 2, second / 2),
        "rare": (3, 1 / 3, 2 / 3, (second + 1) / 3),
        "frequent": (2, 0, 1 / 2, third / 2),
    }
    for name, (targets, hit_1, hit_3, ndcg_3) in expected.items():
        assert found[name]["targets"] == targets
        assert found[name]["hit@1"] == pytest.approx(hit_1)
        assert found[name]["hit@3"] == pytest.approx(hit_3)
        assert found[name]["ndcg@3"] == pytest.approx(ndcg_3)
    assert groups.results(evaluator) == {}  # nothing is given twice


def test_of_several_targets_of_a_user_each_counts_in_its_own_group(evaluator):
    groups = TargetGroups(torch.tensor([0, 0, 0, 7]))
    groups.collect(torch.tensor([[3, 1, 2]]), torch.tensor([0, 0, 0]), torch.tensor([1, 2, 3]))
    found = groups.results(evaluator)
    assert (found["unseen"]["targets"], found["frequent"]["targets"]) == (2, 1)
    assert (found["unseen"]["hit@1"], found["frequent"]["hit@1"]) == (0, 1)


def test_a_group_without_targets_has_no_metrics(evaluator):
    groups = TargetGroups(torch.tensor([0, 5, 5]))
    groups.collect(torch.tensor([[1, 2, 0]]), torch.tensor([0]), torch.tensor([2]))
    assert groups.results(evaluator)["unseen"] == {"targets": 0}


def training_interactions(data_path):
    users = {}
    for line in (Path(data_path) / "tiny" / "tiny.inter").read_text().splitlines()[1:]:
        user, item, _ = line.split("\t")
        users.setdefault(user, []).append(item)
    kept = [items[-13:] for items in users.values()]
    return Counter(item for items in kept for item in items[:-2]), [items[-1] for items in kept]


@pytest.mark.parametrize("model", some(("SASRec", "SASRecID", "NARMID", "BPR", "Pop"), "SASRecID", "BPR"))
def test_runs_of_stock_and_content_models_state_the_same_groups(model, settings, tmp_path):
    counts, targets = training_interactions(settings["data_path"])
    small = {} if model == "Pop" else {"embedding_size": 8}
    small |= {"hidden_size": 8, "inner_size": 8} if "Rec" in model or "NARM" in model else {}
    result = run(model, "tiny", config_dict=settings | small | {"epochs": 1})
    groups = result["test_result_by_popularity"]
    assert groups["unseen"]["targets"] == sum(counts[item] == 0 for item in targets)
    assert groups["rare"]["targets"] == sum(counts[item] <= 3 for item in targets) > 0
    assert groups["frequent"]["targets"] == sum(counts[item] > 3 for item in targets) > 0
    shares = [(groups[name]["targets"], groups[name]["hit@10"]) for name in ("rare", "frequent")]
    overall = sum(number * hit for number, hit in shares) / len(targets)
    assert overall == pytest.approx(result["test_result"]["hit@10"], abs=1e-3)
    loaded = load(result["folder"])
    test_data, trainer = loaded.test_data, loaded.trainer
    trainer.evaluate(test_data, load_best_model=False)
    assert trainer.result_by_popularity == groups
