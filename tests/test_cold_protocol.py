"""Whole runs of ``protocol: cold``: every kind of model, its results, and a run that is continued."""

from pathlib import Path

import numpy as np
import pytest
from tiny import TINY_CONTENT

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.ranks import read_ranks
from recbole_microlens.quick_start import load, run
from recbole_microlens.sample.dataset import SAMPLE, make_sample

COLD = {"protocol": "cold", "cold_cut": 0.7, "epochs": 1, "topk": [5], "valid_metric": "Hit@5"}
ITEMS = 20  # of the tiny dataset

SLOW = [pytest.param(model, marks=pytest.mark.slow) for model in ("NARMV", "YouTubeIDV")]


def read_ranks_of(result):
    return read_ranks(Path(result["folder"]))


@pytest.fixture
def run_cold(settings):
    """Return a function (model, settings) -> the result of a short run on ``tiny``."""

    def make(model, **more):
        return run(model, "tiny", config_dict=settings | COLD | more)

    return make


@pytest.mark.parametrize(
    "model", ["Pop", "BPR", "LightGCN", "SASRec", "FM", "DSSMID", "LightGCNID", "NFMID", "DeepFMID", "GRCNID"]
)
def test_models_of_ids_are_tested_on_items_that_they_have_never_seen(model, run_cold):
    result = run_cold(model)
    ranks = read_ranks_of(result)
    assert (ranks.train_count == 0).all() and len(set(ranks.user)) == len(ranks) > 10
    assert result["test_result_by_popularity"]["unseen"]["targets"] == len(ranks)
    assert result["test_result_by_popularity"]["frequent"] == {"targets": 0}
    assert result["test_result"]["hit@5"] == pytest.approx((ranks.rank <= 5).mean(), abs=1e-4)
    assert ranks.rank.max() <= ITEMS
    assert "time" in result["dataset_fingerprint"]


@pytest.mark.parametrize("model", ["SASRecV", "SASRecID", *SLOW])
def test_models_of_content_are_tested_on_the_same_targets(model, run_cold):
    result = run_cold(model, **TINY_CONTENT)
    ranks, of_pop = read_ranks_of(result), read_ranks_of(run_cold("Pop"))
    assert (ranks.train_count == 0).all()
    order, order_of_pop = np.argsort(ranks.user), np.argsort(of_pop.user)
    for name in ("user", "item", "history_length"):
        assert np.array_equal(getattr(ranks, name)[order], getattr(of_pop, name)[order_of_pop]), name
    assert load(result["folder"]).evaluate() == result["test_result"]


def test_popularity_alone_ranks_every_known_item_above_a_cold_one(run_cold):
    ranks = read_ranks_of(run_cold("Pop", topk=[1], valid_metric="Hit@1"))
    assert (ranks.rank > 1).all()
    assert (ranks.rank <= ITEMS - ranks.history_length).all()  # what a user has seen is left out


def test_a_run_is_continued_under_its_own_cut(run_cold):
    begun = run_cold("SASRecID", **TINY_CONTENT)
    with pytest.raises(MicroLensError, match="cold_cut was 0.7 and cannot become 0.6"):
        run(resume=begun["folder"], config_dict={"cold_cut": 0.6, "epochs": 2})
    with pytest.raises(MicroLensError, match="cold_cut: 0.7 is read under --protocol=cold alone"):
        run(resume=begun["folder"], config_dict={"protocol": "microlens", "epochs": 2})
    ended = run(resume=begun["folder"], config_dict={"epochs": 2})
    at_once = run_cold("SASRecID", **TINY_CONTENT, epochs=2)
    assert ended["test_result"] == at_once["test_result"] and ended["train_losses"] == at_once["train_losses"]


def test_a_dataset_of_positions_alone_cannot_be_cut(settings, write_inter):
    data_path = write_inter(
        "places", [(f"u{user}", f"i{(user + k) % 30}", k) for user in range(9) for k in range(9)]
    )
    with pytest.raises(MicroLensError, match="needs to know when each interaction took place"):
        run("Pop", "places", config_dict=settings | COLD | {"data_path": str(data_path)})


@pytest.mark.slow
def test_on_the_sample_video_tells_something_of_cold_items_and_ids_nothing(tmp_path):
    make_sample(tmp_path / "data", progress=False)
    settings = {
        "data_path": str(tmp_path / "data"), "checkpoint_dir": str(tmp_path / "runs"), "protocol": "cold",
        "show_progress": False, "use_gpu": False, "state": "WARNING", "seed": 1,
    }  # fmt: skip
    found = {model: run(model, SAMPLE, config_dict=settings) for model in ("Pop", "SASRecID", "SASRecV")}
    metric = {model: result["test_result"]["hit@10"] for model, result in found.items()}
    by_chance = np.mean(10 / (200 - read_ranks_of(found["SASRecV"]).history_length))
    assert metric["Pop"] == 0 and metric["SASRecID"] < 0.02
    assert metric["SASRecV"] > 2 * by_chance
