"""The table of what runs cost."""

import json

import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.costs import format_costs

COST = {
    "trainable_parameters": 1_234_567,
    "parameters": 3_000_000_000,
    "flops_per_step": 2.5e14,
    "flops_per_item": 0,
    "best_epoch": 7,
    "time_per_epoch_s": 12.345,
    "peak_memory_bytes": 999,
}


@pytest.fixture
def write_run(tmp_path):
    def write(model, **more):
        folder = tmp_path / model
        folder.mkdir()
        result = {"model": model, "dataset": "d", "test_result": {"hit@10": 0.5}, "epoch_times_s": [1.0, 2.0]}
        (folder / "result.json").write_text(json.dumps(result | {"folder": f"runs/{model}"} | more))
        return tmp_path

    return write


def test_a_row_has_what_a_run_cost(write_run):
    folder = write_run("SASRecID", config={"item_modality": ["id"]}, cost=COST)
    text = format_costs([folder])
    row = next(line for line in text.splitlines() if "SASRecID" in line)
    assert " ".join(row.split()) == "1 SASRecID id 1.23 M 3 G 250 T 0 12.35 7 999 B"
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_not_known_is_a_dash_and_earlier_runs_have_their_times(write_run):
    write_run("A", config={"item_modality": ["id"]}, cost=COST | {"flops_per_step": None})
    lines = format_costs([write_run("B")]).splitlines()
    assert next(line for line in lines if " A " in line).split()[7] == "-"
    assert next(line for line in lines if " B " in line).split() == [
        "2",
        "B",
        "?",
        "-",
        "-",
        "-",
        "-",
        "1.50",
        "-",
        "-",
    ]


@pytest.mark.parametrize("cost", [[], 5, {"parameters": "1"}, {"parameters": float("nan")}])
def test_a_damaged_cost_is_named(cost, write_run):
    with pytest.raises(MicroLensError, match=r"result.json is not the result of a run .cost"):
        format_costs([write_run("A", cost=cost)])


@pytest.mark.parametrize(("key", "value"), [("train_losses", [None]), ("valid_results", [{"hit@10": "x"}])])
def test_a_damaged_curve_is_named(key, value, write_run):
    with pytest.raises(MicroLensError, match=f"result.json is not the result of a run .{key}"):
        format_costs([write_run("A", **{key: value})])
