"""Full ranking: hits, top items and metrics are RecBole's to the last digit, whatever the model."""

import pytest
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.utils import create_samplers
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import Collector
from recbole.trainer import Trainer

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.evaluation import loaders as loaders
from recbole_microlens.evaluation.collector import HitsCollector, hit_rows
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

TOP_METRICS = ["Hit", "NDCG", "MRR", "MAP", "Recall", "Precision"]


def config_of(settings, model="SASRec", **more):
    exact = {"metric_decimal_place": 15, "topk": [1, 3, 10], "valid_metric": "MRR@10", "metrics": TOP_METRICS}
    return Config(model, "tiny", config_dict=settings | exact | more)


def scores_of(users, items, seed=0, ties=False):
    """Random scores whose padding and some more items are left out."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(users, items, generator=generator)
    scores = (scores * 4).round() if ties else scores
    scores[torch.rand(users, items, generator=generator) < 0.2] = -torch.inf
    scores[:, 0] = -torch.inf
    return scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("several", [False, True], ids=["one positive", "several"])
def test_rows_are_recboles_bit_by_bit(settings, ties, several):
    config = config_of(settings)
    structs = []
    for collector in (HitsCollector(config), Collector(config)):
        for batch in range(3):
            scores = scores_of(40, 30, batch, ties)
            rows = torch.arange(40).repeat_interleave(3 if several else 1)
            positives = torch.randint(1, 30, rows.shape, generator=torch.Generator().manual_seed(batch))
            collector.eval_batch_collect(scores, None, rows, positives)
        structs.append(collector.get_data_struct())
    ours, theirs = (struct.get("rec.topk") for struct in structs)
    assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    metrics = [Evaluator(config).evaluate(struct) for struct in structs]
    assert metrics[0] == metrics[1] and metrics[0]["mrr@10"] > 0


def test_a_positive_given_twice_counts_once():
    top = torch.tensor([[4, 2], [2, 9]])
    rows = hit_rows(top, torch.tensor([0, 0, 0, 1]), torch.tensor([2, 2, 7, 9]))
    assert rows.tolist() == [[0, 1, 2], [0, 1, 1]]


def test_rows_are_given_once(settings):
    collector = HitsCollector(config_of(settings))
    collector.eval_batch_collect(scores_of(5, 30), None, torch.arange(5), torch.arange(1, 6))
    assert collector.rows()["rec.topk"].shape == (5, 11)
    assert collector.rows() == {}


@pytest.fixture
def both_ways(settings, tmp_path, monkeypatch):
    """Return a function (model, phase, settings) -> the results of our ranking and of RecBole's own."""

    def evaluate(model, phase="test", **more):
        small = (
            {"embedding_size": 16, "hidden_size": 16} if model in ("SASRec", "NextItNet", "GRU4Rec") else {}
        )
        config = config_of(settings, model, eval_batch_size=100, mask_history=False, **small | more)
        monkeypatch.setitem(loaders.SCORE_BYTES, "cpu", 4 * 21 * 5)  # five users a batch
        torch.manual_seed(1)
        train, *held_out = prepare_data(config, create_dataset(config))
        torch.manual_seed(0)
        network = config.model_class(config, train._dataset)
        network.calculate_loss(next(iter(train)))  # Pop counts here
        number = ("valid", "test").index(phase)
        ours = create_trainer(config, network, tmp_path, train)
        ours.eval_collector.data_collect(train)
        result = ours.evaluate(held_out[number], load_best_model=False)

        dataset = create_dataset(config)
        torch.manual_seed(1)
        parts = dataset.build()
        samplers = create_samplers(config, dataset, parts)
        loader = FullSortEvalDataLoader(config, parts[number + 1], samplers[number + 1])
        stock = Trainer(config, network)
        stock.eval_collector.data_collect(train)
        return result, stock.evaluate(loader, load_best_model=False)

    return evaluate


MODELS = ["SASRec", "NextItNet", "GRU4Rec", "BPR", "ItemKNN", "MultiVAE", "FM", "Pop"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("phase", ["valid", "test"])
def test_stock_models_rank_as_in_recbole(model, phase, both_ways):
    ours, theirs = both_ways(model, phase)
    assert ours == theirs
    assert list(ours) == list(theirs)


def test_several_positives_a_user_rank_as_in_recbole(both_ways):
    ours, theirs = both_ways("BPR", eval_args={"split": {"RS": [0.4, 0.2, 0.4]}, "order": "RO"}, seed=4)
    assert ours == theirs and ours["recall@10"] != ours["hit@10"]


def test_a_metric_of_all_ranks_goes_recboles_way_and_says_so(both_ways, caplog):
    ours, theirs = both_ways("BPR", metrics=["Hit", "GAUC"], valid_metric="Hit@10")
    assert ours == theirs and "gauc" in ours
    assert caplog.text.count("gauc needs all scores, not only the top items") == 1


def test_metrics_of_the_top_items_count_them_over_all_batches(settings):
    """RecBole's own collector stops at these: it asks the number of items for its ``cpu()``."""
    metrics = ["ItemCoverage", "AveragePopularity", "GAUC"]
    for chosen in (metrics[:2], metrics):
        config = config_of(settings, "BPR", metrics=chosen, valid_metric="ItemCoverage@10")
        train, *_ = prepare_data(config, create_dataset(config))
        collector = HitsCollector(config)
        collector.data_collect(train)
        scores = [scores_of(9, 21, batch) for batch in range(3)]
        for batch in scores:
            collector.eval_batch_collect(batch, None, torch.arange(9), torch.arange(1, 10))
        result = Evaluator(config).evaluate(collector.get_data_struct())
        top = torch.cat(scores).topk(10).indices
        counts = torch.bincount(train._dataset.inter_feat["item_id"], minlength=21)
        assert result["itemcoverage@10"] == pytest.approx(len(top.unique()) / 21)
        assert result["averagepopularity@10"] == pytest.approx(counts[top].double().mean().item())
        assert ("gauc" in result) == ("GAUC" in chosen)


def test_batches_are_bounded_by_the_bytes_of_their_scores(settings, monkeypatch):
    monkeypatch.setitem(loaders.SCORE_BYTES, "cpu", 4 * 21 * 5)
    steps = {}
    for model, size in [("SASRec", 100), ("SASRec", 2), ("BPR", 1), ("BPR", 21 * 7), ("FM", 21 * 3)]:
        config = config_of(settings, model, eval_batch_size=size)
        _, _, test = prepare_data(config, create_dataset(config))
        assert test._dataset.item_num == 21
        steps[model, size] = test.step
        assert max(len(batch[0]) for batch in test) == min(test.step, 24)
    assert list(steps.values()) == [5, 2, 5, 7, 3]
