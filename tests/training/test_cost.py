"""What a run cost, in its result."""

import json
from pathlib import Path

import pytest

from recbole_microlens.quick_start import load, run
from recbole_microlens.training.flops import flops_of_an_item


def test_a_result_says_what_the_run_cost(content_settings):
    result = run("SASRecV", "tiny", config_dict=content_settings | {"epochs": 2})
    cost, model = result["cost"], load(result["folder"]).model
    sizes = [each.numel() for each in model.parameters()]
    assert cost["parameters"] == sum(sizes) == cost["trainable_parameters"]
    assert cost["time_per_epoch_s"] == pytest.approx(sum(result["epoch_times_s"]) / 2, abs=1e-3)
    scores = [each["hit@10"] for each in result["valid_results"]]
    assert scores[cost["best_epoch"]] == result["best_valid_result"]["hit@10"] == max(scores)
    assert cost["peak_memory_bytes"] == result["peak_memory_bytes"] > 1 << 20
    # A step encodes at most all 20 items, forwards and backwards; the user model is small beside that.
    assert 20 * cost["flops_per_item"] < cost["flops_per_step"] < 65 * cost["flops_per_item"]
    assert json.loads(Path(result["folder"], "result.json").read_text())["cost"] == cost


def test_of_a_frozen_encoder_the_head_trains_and_an_item_costs_the_same(content_settings):
    full, frozen = (
        run("SASRecV", "tiny", config_dict=content_settings | {"epochs": 1, "finetune": mode})["cost"]
        for mode in ("full", "frozen")
    )
    assert frozen["parameters"] == full["parameters"]
    assert frozen["trainable_parameters"] < full["trainable_parameters"] / 10
    assert frozen["flops_per_item"] == full["flops_per_item"] > 1e6
    assert frozen["flops_per_step"] < full["flops_per_step"] / 2


def test_an_item_costs_the_same_with_and_without_an_activation_cache(content_settings, tmp_path):
    chosen = content_settings | {"epochs": 1, "finetune": "frozen"}
    plain, cached = (
        run("SASRecV", "tiny", config_dict=chosen | {"activation_cache": cache})["cost"]
        for cache in ("off", str(tmp_path / "cache"))
    )
    assert cached["flops_per_item"] == plain["flops_per_item"]
    assert cached["flops_per_step"] < plain["flops_per_step"] / 5


def test_an_item_that_is_looked_up_costs_no_operation_and_one_of_a_stock_model_is_unknown(
    content_settings, settings
):
    by_id = run("SASRecID", "tiny", config_dict=content_settings)["cost"]
    stock = run("BPR", "tiny", config_dict=settings)["cost"]
    assert by_id["flops_per_item"] == 0 and by_id["flops_per_step"] > 0
    assert stock["flops_per_item"] is None


def test_counting_an_item_leaves_the_model_as_it_was(content_settings):
    trainer = load(run("SASRecV", "tiny", config_dict=content_settings | {"epochs": 1})["folder"]).trainer
    trainer.model.train()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    assert flops_of_an_item(trainer) > 0
    assert trainer.model.item_embedding.training
    assert all(value.equal(before[name]) for name, value in trainer.model.state_dict().items())


def test_what_training_recorded_survives_a_resume(settings):
    unbroken = run("BPR", "tiny", config_dict=settings | {"epochs": 3})
    broken = run("BPR", "tiny", config_dict=settings | {"epochs": 2})
    resumed = run(config_dict={"epochs": 3}, resume=broken["folder"])
    again = run(resume=resumed["folder"])
    for key in ("train_losses", "valid_results"):
        assert resumed[key] == unbroken[key] == again[key]
    assert [each["epoch"] for each in resumed["valid_results"]] == [0, 1, 2]
    for key in ("flops_per_step", "best_epoch", "parameters"):
        assert resumed["cost"][key] == unbroken["cost"][key] == again["cost"][key]
