"""Searches: RecBole's format of parameter files, what is tried, and a whole search chosen by validation."""

import re
from pathlib import Path

import numpy as np
import pytest

from recbole_microlens.cli import main
from recbole_microlens.comparison.cells import Cell, Row
from recbole_microlens.comparison.found import RunsBelow
from recbole_microlens.comparison.parameter_file import Parameter, read_parameters
from recbole_microlens.comparison.search import _Watch, grid_rows, random_rows, validations
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run

SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "epochs": 2, "worker": 0}


@pytest.fixture
def file(tmp_path):
    """Return a function (text) -> a parameter file with it."""

    def write(text):
        path = tmp_path / "params.test"
        path.write_text(text, encoding="utf-8")
        return path

    return write


WHOLE = """# RecBole's format
learning_rate choice [1e-3,1e-4]
hidden_act choice ['gelu', 'relu']   # words
hidden_dropout_prob uniform 0.0,0.5

hidden_size quniform 32,128,32
weight_decay loguniform -8,0
"""


def test_a_file_of_recbole_is_read(file):
    found = {each.name: (each.kind, each.values) for each in read_parameters(file(WHOLE))}
    assert found == {
        "learning_rate": ("choice", [1e-3, 1e-4]),
        "hidden_act": ("choice", ["gelu", "relu"]),
        "hidden_dropout_prob": ("uniform", [0.0, 0.5]),
        "hidden_size": ("quniform", [32, 128, 32]),
        "weight_decay": ("loguniform", [-8, 0]),
    }


def test_drawn_values_are_within_their_ranges(file):
    rng = np.random.default_rng(0)
    drawn = {each.name: [each.drawn(rng) for _ in range(300)] for each in read_parameters(file(WHOLE))}
    assert set(drawn["learning_rate"]) == {1e-3, 1e-4} and set(drawn["hidden_act"]) == {"gelu", "relu"}
    assert set(drawn["hidden_size"]) == {32, 64, 96, 128}
    assert all(isinstance(value, int) for value in drawn["hidden_size"])
    assert 0 <= min(drawn["hidden_dropout_prob"]) < 0.05 and 0.45 < max(drawn["hidden_dropout_prob"]) <= 0.5
    decay = np.log(drawn["weight_decay"])
    assert decay.min() < -7 and decay.max() > -1 and abs(np.median(decay) + 4) < 0.8


WRONG = {
    "learning_rate choice 5": "not a list of values",
    "learning_rate choice [": "line 1",
    "learning_rate choice []": "not a list of values",
    "learning_rate choise [1]": "Did you mean 'choice'",
    "learning_rate": "'' is no kind of range",
    "learnin_rate choice [1]": "Did you mean 'learning_rate'",
    "learning_rate choice ['fast']": "learning_rate",
    "epochs choice [__import__('os').getcwd()]": "line 1",
    "learning_rate uniform 1": "takes low,high, not 1",
    "learning_rate uniform 2,1": "low must be below high",
    "hidden_size quniform 1,8,0": "a step above 0",
    "learning_rate uniform 0,nan": "takes low,high",
    "learning_rate loguniform 0,1000": "too large",
    "seed choice [1, 2]": "seed is not searched",
    "epochs choice [1]\nepochs choice [2]": "line 2: epochs has a line already",
    "# nothing": "has no ranges",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_line_is_named(text, file):
    with pytest.raises(MicroLensError, match=re.escape(WRONG[text])):
        read_parameters(file(text))


def test_a_grid_is_all_combinations_and_needs_choices():
    two = [Parameter("learning_rate", "choice", [1, 2, 3]), Parameter("epochs", "choice", [5, 6])]
    rows = grid_rows("SASRec", two)
    assert len(rows) == 6 == len({row.label for row in rows})
    assert rows[1].settings == {"learning_rate": 1, "epochs": 6}
    assert rows[1].label == "SASRec, learning_rate=1, epochs=6"
    with pytest.raises(MicroLensError, match="weight_decay is a range"):
        grid_rows("SASRec", [*two, Parameter("weight_decay", "uniform", [0, 1])])
    with pytest.raises(MicroLensError, match="100,000,000 combinations"):
        grid_rows("SASRec", [Parameter(f"k{n}", "choice", list(range(10))) for n in range(8)])


def test_random_combinations_are_distinct_repeat_with_the_seed_and_end():
    two = [Parameter("learning_rate", "choice", [1, 2, 3]), Parameter("epochs", "choice", [5, 6])]
    labels = [[row.label for row in random_rows("SASRec", two, 4, seed)] for seed in (0, 0, 1)]
    assert labels[0] == labels[1] != labels[2] and len(set(labels[0])) == 4
    assert len(random_rows("SASRec", two, 50, 0)) == 6


def test_validations_are_read_from_the_log_of_a_run(settings):
    folder = Path(run("SASRecID", "tiny", config_dict=settings | SMALL | {"state": "INFO"})["folder"])
    found = validations(folder / "log.txt")
    assert [epoch for epoch, _ in found] == [0, 1] and all(0 <= score <= 1 for _, score in found)


def words(settings):
    return [f"--{key}={value}" for key, value in (settings | SMALL).items()]


def test_bad_input_is_one_message(settings, file, capfd):
    path = file("learning_rate choice [1e-3]\n")
    for arguments, said in (
        ([f"--params={path.parent / 'none'}"], "no such file"),
        ([f"--params={path}", "--trials=0"], "--trials is 1 to"),
        ([f"--params={path}", "--method=best"], "invalid choice"),
        ([f"--params={path}", "--method=optuna", "--jobs=2"], "a trial depends on those before"),
        ([f"--params={path}", "--learning_rate=1"], "this table sets it"),
    ):
        assert main(["tune", "--model=SASRecID", "--dataset=tiny", *arguments, *words(settings)]) == 2
        assert said in capfd.readouterr().err


def test_without_optuna_the_message_says_how_to_install_it(settings, file, capfd, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    command = ["tune", "--model=SASRecID", "--dataset=tiny", "--method=optuna"]
    assert main([*command, f"--params={file('learning_rate choice [1e-3]')}", *words(settings)]) == 2
    assert "pip install 'optuna>=4,<5'" in capfd.readouterr().err


@pytest.mark.slow
def test_a_grid_is_searched_and_shown_with_the_best_validation_first(settings, file, capfd):
    path = file("learning_rate choice [1e-1, 1e-3]\n")
    command = ["tune", "--model=SASRecID", "--dataset=tiny", f"--params={path}", *words(settings)]
    assert main(command) == 0
    captured = capfd.readouterr()
    rows = [line.split("|") for line in captured.out.splitlines() if "| SASRecID, learning_rate" in line][:2]
    scores = [float(row[3].strip().strip("*")) for row in rows]
    assert "valid hit@10" in captured.out and scores == sorted(scores, reverse=True)
    assert main(command) == 0
    assert capfd.readouterr().err.count("finished before") == 2


@pytest.mark.slow
def test_optuna_prunes_by_validation_and_continues_with_the_same_trials(settings, file, capfd):
    pytest.importorskip("optuna")
    path = file("learning_rate choice [1e-1, 1e-2, 1e-6, 1e-7, 1e-8]\nhidden_dropout_prob uniform 0,0.5\n")
    command = ["tune", "--model=SASRecID", "--dataset=tiny", f"--params={path}", "--method=optuna"]
    command += ["--trials=6", *words(settings | {"state": "INFO"}), "--epochs=8", "--stopping_step=20"]
    assert main(command) == 0
    first = capfd.readouterr()
    finished = len(list(Path(settings["checkpoint_dir"]).rglob("result.json")))
    assert finished + first.out.count("pruned: validation after epoch") >= 6
    assert main(command) == 0
    again = capfd.readouterr()
    assert again.err.count("finished before") >= finished
    assert len(list(Path(settings["checkpoint_dir"]).rglob("result.json"))) == finished


def test_a_trial_below_the_median_of_the_others_is_ended_and_its_folder_is_not_run_again(tmp_path):
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=4))
    cell = Cell(Row("a", "SASRecID"), {}, None, "x")

    def watched(scores):
        log = tmp_path / "log.txt"
        lines = [
            f"epoch {n} evaluating [time: 0.10s, valid_score: {score:f}]" for n, score in enumerate(scores)
        ]
        log.write_text("\n".join(lines))
        trial = study.ask()
        watch = _Watch(trial, [cell], RunsBelow(tmp_path))
        return trial, watch, [watch(cell, log), watch(cell, tmp_path / "none")]

    for best in (0.5, 0.6, 0.7, 0.8):
        trial, _, ended = watched([0.3, best])
        assert not any(ended)
        study.tell(trial, best)
    _, watch, ended = watched([0.3, 0.9])
    assert not any(ended)
    _, watch, ended = watched([0.3, 0.4])
    assert ended[0] and watch._reason().startswith("pruned: validation after epoch 1 is below the median")
    assert not watch(Cell(cell.row, {"seed": 2}, None, "y"), tmp_path / "log.txt")  # another seed goes on
