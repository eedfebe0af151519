"""Several runs on one test, looked at beyond their averages."""

import json
from pathlib import Path

import numpy as np
import pytest

from recbole_microlens import cli
from recbole_microlens.analysis.analyse import analyse
from recbole_microlens.analysis.lists import list_quality
from recbole_microlens.analysis.report import write_report
from recbole_microlens.analysis.runs import open_runs, ranks_of_same_test
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import load, run


def test_groups_add_up_to_the_result_of_the_run(finished):
    found = analyse(open_runs([finished.SASRecID, finished.SASRecV]), "hit@5", groups=3, lists=False)
    for model in ("SASRecID", "SASRecV"):
        expected = finished.results[model]["test_result"]["hit@5"]
        assert found.overall[model] == pytest.approx(expected, abs=1e-4)
        for grouping in (found.by_popularity, found.by_history):
            mean = np.average(grouping.values[model], weights=grouping.targets)
            assert mean == pytest.approx(expected, abs=1e-4)
            assert sum(grouping.targets) == 24
    own, baseline = found.by_popularity.values["SASRecV"], found.by_popularity.values["SASRecID"]
    for ratio, value, base in zip(found.by_popularity.ratios()["SASRecV"], own, baseline, strict=True):
        assert ratio == (pytest.approx(value / base) if base else None)


def test_unseen_targets_have_the_metric_that_the_result_has(finished):
    unseen = finished.results["SASRecV"]["test_result_by_popularity"]["unseen"]
    found = analyse(open_runs([finished.SASRecV]), "ndcg@5", lists=False).by_popularity
    if unseen["targets"]:
        assert (found.labels[0], found.targets[0]) == ("0", unseen["targets"])
        assert found.values["SASRecV"][0] == pytest.approx(unseen["ndcg@5"], abs=1e-4)
    else:
        assert found.labels[0] != "0"


def test_lists_have_the_coverage_and_the_gini_index_of_recbole(finished):
    for model in ("SASRecV", "BPR"):
        expected = finished.results[model]["test_result"]
        found = list_quality(getattr(finished, model), 5)
        items = 20
        assert (found.length, found.lists) == (5, 24)
        # RecBole counts the padding as an item that is never shown.
        assert found.coverage * items / (items + 1) == pytest.approx(expected["itemcoverage@5"], abs=1e-4)
        shown = 1 - found.gini
        assert shown * items / (items + 1) == pytest.approx(1 - expected["giniindex@5"], abs=1e-4)
        assert 2 < found.novelty < 8


def test_the_slope_is_that_of_the_models_mean_scores(finished):
    loaded = load(finished.SASRecID)
    loaded.trainer.model.eval()
    loaded.evaluate()
    batch, (row, item), *_ = next(iter(loaded.test_data))
    scores = loaded.model.full_sort_predict(batch).detach().view(len(batch), -1).double()
    scores[:, 0] = float("nan")
    scores[row, item] = float("nan")
    mean = np.nanmean((scores - scores.nanmean(dim=1, keepdim=True)).numpy(), axis=0)[1:]
    counts = loaded.train_data._dataset.popularity.numpy()[1:]
    seen = (counts > 0) & np.isfinite(mean)
    slope, _ = np.polyfit(np.log(counts[seen]), mean[seen], 1)
    assert list_quality(finished.SASRecID, 5).slope == pytest.approx(slope, rel=1e-3, abs=1e-6)


def test_runs_of_models_with_lists_in_other_orders_are_put_into_one(finished):
    runs = open_runs([finished.SASRecV, finished.BPR])
    one, other = ranks_of_same_test(runs)
    assert one.user.tolist() == other.user.tolist() and one.item.tolist() == other.item.tolist()
    found = analyse([runs[1], runs[0]], "hit@5", lists=False)
    assert found.by_history is not None  # BPR does not know the histories, SASRecV does


def test_a_terminal_of_80_columns_shows_it_and_json_holds_it(finished, capsys):
    folders = [str(finished.SASRecID), str(finished.SASRecV), str(finished.BPR)]
    assert cli.main(["analyse", *folders, "--metric", "hit@5", "--groups", "3"]) == 0
    text = capsys.readouterr().out
    tables, _ = text.rsplit("\n\n", 1)
    assert max(map(len, tables.splitlines())) <= 80
    for word in (
        "SASRecID",
        "SASRecV",
        "BPR",
        "ratio",
        "coverage",
        "novelty",
        "slope",
        "interactions before",
    ):
        assert word in text
    assert (
        cli.main(["analyse", *folders, "--metric", "hit@5", "--groups", "3", "--json", "--ranks-only"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["lists"] == {} and found["metric"] == "hit@5"
    assert found["overall"]["BPR"] == pytest.approx(finished.results["BPR"]["test_result"]["hit@5"], abs=1e-4)
    assert set(found["by_popularity"]["ratios"]) == {"SASRecV", "BPR"}


def test_two_runs_of_one_model_have_different_names(finished, copied):
    runs = open_runs([finished.BPR, copied("BPR")])
    assert [run.label for run in runs] == ["BPR #1", "BPR #2"]


def no_ranks(folder):
    (folder / "ranks.npz").unlink()


def damaged_ranks(folder):
    (folder / "ranks.npz").write_bytes((folder / "ranks.npz").read_bytes()[:200])


def damaged_result(folder):
    (folder / "result.json").write_text('{"model": ')


def no_result(folder):
    (folder / "result.json").unlink()


def other_dataset(folder):
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"dataset": "microlens-1m"}))


def other_protocol(folder):
    path = folder / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | {"config": result["config"] | {"max_user_interactions": 7}}))
    with np.load(folder / "ranks.npz") as file:
        arrays = {name: values[:-1] for name, values in file.items()}
    np.savez(folder / "ranks.npz", **arrays)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_ranks, "has no ranks.npz"),
        (damaged_ranks, "ranks.npz is damaged"),
        (damaged_result, "result.json is not the result of a run"),
        (no_result, "no finished run"),
        (other_dataset, "one on microlens-1m: give runs on one dataset"),
        (other_protocol, "not tested on the same targets: max_user_interactions is 13 and 7"),
    ],
)
def test_what_cannot_be_analysed_is_one_message(damage, message, finished, copied, capsys):
    folder = copied("BPR")
    damage(folder)
    assert cli.main(["analyse", str(finished.SASRecID), str(folder), "--metric", "hit@5"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.out == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metric", "auc"], "auc is not a metric of single users"),
        (["--metric", "hit@0"], "hit@0 is not a metric"),
        (["--metric", "hit@" + "9" * 5000], "is not a metric"),
        (["--groups", "1"], "groups: 1 is fewer than two"),
    ],
)
def test_a_wrong_option_is_said(options, message, finished, capsys):
    assert cli.main(["analyse", str(finished.BPR), "--ranks-only", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_model_that_cannot_be_loaded_is_named(copied):
    folder = copied("BPR")
    (folder / "model.pth").unlink()
    with pytest.raises(MicroLensError, match="model.pth"):
        analyse(open_runs([folder]), "hit@5")


@pytest.fixture(scope="module")
def cold(tiny_data, tmp_path_factory):
    """Run folders of Pop on cold items, by their cut; the test users of both are the same."""
    chosen = {
        "data_path": str(tiny_data), "checkpoint_dir": str(tmp_path_factory.mktemp("cold")),
        "show_progress": False, "use_gpu": False, "state": "WARNING", "protocol": "cold",
        "topk": [5], "valid_metric": "Hit@5",
    }  # fmt: skip
    return {cut: run("Pop", "tiny", config_dict=chosen | {"cold_cut": cut})["folder"] for cut in (0.6, 0.7)}


def test_an_analysis_says_that_it_is_of_cold_items(cold, capsys):
    assert cli.main(["analyse", cold[0.7], "--metric", "hit@5"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("hit@5 on tiny: cold items (cold_cut 0.7), ranked among all items\n")
    table = text.split("training interactions of the target's item:")[1].split("\n\n")[1].splitlines()
    assert [line.split()[:2] for line in table[-2:]] == [["0", "17"], ["all", "17"]]
    assert cli.main(["analyse", cold[0.7], "--metric", "hit@5", "--json", "--ranks-only"]) == 0
    assert json.loads(capsys.readouterr().out)["tested_on"].startswith("cold items")


def test_runs_on_cold_items_are_not_analysed_with_others(cold, finished, capsys):
    for other, said in (
        (cold[0.6], "cold_cut is 0.7 and 0.6"),
        (str(finished.BPR), "protocol is cold and microlens; cold_cut is 0.7 and None"),
    ):
        assert cli.main(["analyse", cold[0.7], other, "--metric", "hit@5"]) == 2
        assert f"not tested on the same targets: {said}" in capsys.readouterr().err


def test_a_page_says_that_it_is_of_cold_items(cold, tmp_path):
    write_report(open_runs([Path(cold[0.7])]), tmp_path / "report.html", "hit@5", lists=False)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "17 test targets: cold items (cold_cut 0.7), ranked among all items; validation is on" in page
    assert "Rare and unseen" not in page
