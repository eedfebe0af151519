"""Pictures of real runs, and of a real dataset."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from recbole_microlens import cli
from recbole_microlens.analysis.analyse import analyse
from recbole_microlens.analysis.dataset_counts import dataset_counts
from recbole_microlens.analysis.pictures import bars_of, curves_of, encoders_of, popularity_of
from recbole_microlens.analysis.runs import open_runs


def test_curves_are_what_training_recorded(finished):
    runs = open_runs([finished.SASRecID, finished.SASRecV])
    above, below = curves_of(runs).axes
    for line, run in zip(above.lines, runs, strict=True):
        assert line.get_ydata().tolist() == finished.results[run.label]["train_losses"]
    shown = [line.get_ydata().tolist() for line in below.lines if line.get_marker() in ("o", "s")]
    assert [each["hit@5"] for each in finished.results["SASRecID"]["valid_results"]] in shown
    assert below.get_ylabel() == "validation hit@5"


def test_bars_are_the_test_results_of_the_metric_that_validation_went_by(finished):
    figure = bars_of(open_runs([finished.SASRecID, finished.BPR]))
    hit = figure.axes[0]
    assert hit.get_title() == "hit@5"
    assert [bar.get_width() for bar in hit.patches] == [
        finished.results[model]["test_result"]["hit@5"] for model in ("SASRecID", "BPR")
    ]
    assert [bool(bar.get_hatch()) for bar in hit.patches] == [False, True]


def test_runs_that_differ_in_their_seed_alone_are_one_bar_with_their_spread(finished, copied):
    folder = copied("BPR")
    path = folder / "result.json"
    result = json.loads(path.read_text())
    other = {"config": result["config"] | {"seed": 5}, "test_result": {"hit@5": 0.9, "ndcg@5": 0.5}}
    path.write_text(json.dumps(result | other))
    own = result["test_result"]["hit@5"]
    figure = bars_of(open_runs([finished.BPR, folder, finished.SASRecID]))
    hit = figure.axes[0]
    assert hit.patches[0].get_width() == pytest.approx((own + 0.9) / 2) and len(hit.patches) == 2
    assert [label.get_text() for label in hit.get_yticklabels()] == ["BPR, 2 seeds", "SASRecID"]
    (spread,) = hit.collections[0].get_segments()
    assert spread[1][0] - spread[0][0] == pytest.approx(2 * np.std([own, 0.9], ddof=1))


def test_groups_are_ratios_to_the_first_run_and_of_one_run_the_metric(finished):
    runs = open_runs([finished.BPR, finished.SASRecID])
    both, one = (analyse(each, "ndcg@5", 3, lists=False) for each in (runs, runs[:1]))
    line, baseline = popularity_of(both).axes[0].lines
    expected = [np.nan if value is None else value for value in both.by_popularity.ratios()["SASRecID"]]
    np.testing.assert_array_equal(line.get_ydata(), expected)
    assert list(baseline.get_ydata()) == [1, 1]
    (line,) = popularity_of(one).axes[0].lines
    assert line.get_ydata().tolist() == one.by_popularity.values["BPR"]


def test_encoders_are_the_papers_with_own_runs_beside(copied):
    folder = copied("SASRecV")
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_result": {"ndcg@10": 0.04}}))
    right = encoders_of(open_runs([folder]), "NDCG@10").axes[1]
    own = next(line for line in right.lines if line.get_label() == "own runs")
    assert own.get_xdata().tolist() == [4.0]  # of X3D-xs, the second from below
    assert own.get_ydata().tolist() == [1]
    assert len(right.lines[0].get_xdata()) == 15
    top = next(line for line in right.lines if line.get_label().startswith("top"))
    assert 5.30 in top.get_xdata()  # SlowFast-r101 in Table 6
    assert right.get_xlabel() == "recommendation,\nNDCG@10 (%)"


def test_counts_are_those_of_the_file(tiny_data):
    items, users = dataset_counts(tiny_data, "tiny")
    rows = (tiny_data / "tiny" / "tiny.inter").read_text().splitlines()[1:]
    assert items.sum() == users.sum() == len(rows) and (len(users), len(items)) == (24, 20)


KINDS = ("curves", "bars", "popularity", "history")


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_drawn_from_the_command_line(kind, finished, tmp_path, capsys):
    out = tmp_path / "pictures" / f"{kind}.svg"
    runs = [str(finished.SASRecID), str(finished.SASRecV)]
    assert cli.main(["plot", kind, *runs, "--out", str(out), "--metric", "hit@5"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    ET.parse(out)


def test_the_dataset_is_drawn_with_the_durations_of_its_videos(tiny_data, tiny_release, tmp_path, capsys):
    out = tmp_path / "dataset.png"
    videos = next(Path(tiny_release).rglob("*.mp4")).parent
    given = ["--dataset=tiny", f"--data-path={tiny_data}", f"--videos={videos}", f"--out={out}"]
    assert cli.main(["plot", "dataset", *given]) == 0
    assert out.stat().st_size > 10_000 and capsys.readouterr().out == f"{out}\n"


def without_losses(folder):
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"train_losses": []}))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["curves"], "no run is given"),
        (["curves", "{run}"], "has no losses by epoch"),
        (["bars", "nowhere"], "no finished run"),
        (["encoders", "{video}"], "was not tested on hit@10"),
        (["encoders", "{run}"], "not encoded by one of the paper's video encoders"),
        (["encoders", "--metric=mrr@10"], "the paper has hit@10 and ndcg@10 of encoders"),
        (["dataset", "--dataset=none"], "Dataset none is not in"),
        (["dataset"], "Write --dataset=NAME"),
    ],
)
def test_what_cannot_be_drawn_is_one_message_and_no_file(words, message, copied, tmp_path, capsys):
    run, video, out = copied("BPR"), copied("SASRecV", "video"), tmp_path / "out" / "picture.svg"
    without_losses(run)
    assert cli.main(["plot", *(word.format(run=run, video=video) for word in words), f"--out={out}"]) == 2
    assert message in capsys.readouterr().err
    assert not out.parent.exists()


def test_a_picture_of_an_unknown_form_is_refused_first(finished, capsys):
    assert cli.main(["plot", "bars", str(finished.BPR), "--out=picture.pdf"]) == 2
    assert "pictures are .png or .svg" in capsys.readouterr().err
