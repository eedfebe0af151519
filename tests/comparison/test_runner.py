"""Cells are run as real processes: numbers as of single runs, failures alone, kills continued, none twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recbole_microlens.cli import main
from recbole_microlens.comparison.cells import Request, Row, cells_of
from recbole_microlens.comparison.runner import CELLS, Runner, reason_of
from recbole_microlens.files import locked_folder
from recbole_microlens.quick_start import run

SMALL = {"hidden_size": 8, "inner_size": 8, "n_layers": 1, "epochs": 2, "worker": 0}
QUIET = ("show_progress", "use_gpu", "state")


def words(settings, **more):
    given = settings | SMALL | more
    return [f"--{key}={value}" for key, value in given.items()]


def folders(settings):
    return sorted(path.parent for path in Path(settings["checkpoint_dir"]).rglob("result.json"))


def test_a_finished_cell_is_taken_and_one_that_fails_fails_alone(settings, capfd):
    """One process is started: that of the cell that fails while it runs."""
    run("Pop", "tiny", config_dict=settings)
    rows = [Row("bad", "SASRecID", {"no_such_setting": 1}), Row("Pop", "Pop"), Row("missing", "GRU4RecID")]
    rows[2].settings["init_from"] = str(settings["checkpoint_dir"])
    request = Request("tiny", settings)
    cells = cells_of(rows, request, strict=False)
    bad, pop, missing = Runner(request, Path(settings["checkpoint_dir"])).run(cells)
    assert bad.folder is None and "There is no setting 'no_such_setting'" in bad.reason
    assert pop.folder == folders(settings)[0] and len(folders(settings)) == 1
    assert missing.folder is None and missing.reason.startswith("failed: ")
    assert "is not a run folder" in missing.reason
    said = capfd.readouterr().err
    assert (
        "[1/3] bad: failed" in said
        and "Pop: finished before, hit@10" in said
        and "output.txt has all" in said
    )


@pytest.mark.slow
def test_numbers_are_those_of_single_runs_and_nothing_runs_twice(settings, capsys, tmp_path):
    alone = run(
        "SASRecID", "tiny", config_dict=settings | SMALL | {"checkpoint_dir": str(tmp_path / "alone")}
    )
    command = ["compare", "--dataset=tiny", "--models=SASRecID GRU4RecID", "--jobs=2", "--baseline=SASRecID"]
    assert main([*command, *words(settings)]) == 0
    first = capsys.readouterr()
    assert f"{alone['test_result']['hit@10']:.4f}" in first.out and "Holm-corrected" in first.out
    before = folders(settings)
    assert main([*command, *words(settings)]) == 0
    again = capsys.readouterr()
    assert folders(settings) == before and again.err.count("finished before") == 2
    assert again.out == first.out
    written = Path(settings["checkpoint_dir"]) / "tables" / "tiny-models.md"
    assert written.read_text() in first.out


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again_it_ends_with_the_same_table(settings, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("model: [SASRecID, GRU4RecID]\nlearning_rate: [1e-3, 1e-2]\n")
    command = [sys.executable, "-m", "recbole_microlens", "compare", "--dataset=tiny", f"--grid={grid}"]

    def of(name):
        return [*command, *words(settings, checkpoint_dir=str(tmp_path / name), epochs=15, stopping_step=50)]

    whole = subprocess.run(of("whole"), capture_output=True, text=True, timeout=400)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(of("killed"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    root, deadline = tmp_path / "killed", time.monotonic() + 200
    # In the second cell, after a checkpoint.
    while len(list(root.rglob("result.json"))) < 1 or len(list(root.rglob("last.pth"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = set(root.rglob("config.yaml"))
    again = subprocess.run(of("killed"), capture_output=True, text=True, timeout=400)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("finished before") >= 1
    assert begun <= set(root.rglob("config.yaml")) and len(list(root.rglob("config.yaml"))) == 4
    assert len(list(root.rglob("result.json"))) == 4
    table = lambda text: [line for line in text.splitlines() if line.startswith("|")]  # noqa: E731
    assert table(again.stdout) == table(whole.stdout) and len(table(whole.stdout)) > 4


@pytest.mark.slow
def test_two_at_the_same_time_run_no_cell_twice(settings):
    command = [sys.executable, "-m", "recbole_microlens", "compare", "--dataset=tiny"]
    command += ["--models=SASRecID GRU4RecID", *words(settings, epochs=4)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    said = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert len(folders(settings)) == 2 == len(list(Path(settings["checkpoint_dir"]).rglob("config.yaml")))


@pytest.mark.slow
@pytest.mark.slow
def test_a_killed_run_is_a_failed_cell_and_the_rest_goes_on(settings):
    killed = []

    def kill_first(cell, output):
        begun = list(Path(settings["checkpoint_dir"]).rglob("last.pth"))
        if cell.row.model == "SASRecID" and begun and not killed:
            text = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True).stdout
            killed.extend(n for n in map(int, text.split()) if _is_run(n))
            os.kill(killed[0], signal.SIGKILL)
        return False

    request = Request("tiny", settings | SMALL | {"epochs": 40, "stopping_step": 1000})
    rows = [Row("a", "SASRecID"), Row("b", "GRU4RecID", {"learning_rate": 0.01})]
    cells = cells_of(rows, request, True)
    first, second = Runner(request, Path(settings["checkpoint_dir"]), watch=kill_first).run(cells)
    assert first.folder is None and first.reason == "failed: killed by SIGKILL, probably for lack of memory"
    assert second.folder is not None
    first, again = Runner(request, Path(settings["checkpoint_dir"])).run(cells)
    assert first.folder is not None and again.folder == second.folder
    assert len(list(Path(settings["checkpoint_dir"]).rglob("config.yaml"))) == 2  # continued, not begun anew


def _is_run(number: int) -> bool:
    return b"recbole_microlens\x00run" in Path(f"/proc/{number}/cmdline").read_bytes()


def test_a_run_that_is_held_is_waited_for(settings):
    """The lock of a cell is another process's until it lets go."""
    request = Request("tiny", settings)
    cells = cells_of([Row("Pop", "Pop")], request, True)
    root = Path(settings["checkpoint_dir"])
    runner = Runner(request, root)
    with locked_folder(root / CELLS / cells[0].identity) as is_mine:
        assert is_mine and runner._begin(cells[0]) is None
        run("Pop", "tiny", config_dict=settings)
    assert runner.run(cells)[0].folder is not None


def test_reasons(tmp_path):
    output = tmp_path / "output.txt"
    output.write_text("INFO a\nerror: learning_rate: too large. Lower it.\nINFO b\n")
    assert reason_of(output, 2) == "failed: learning_rate: too large. Lower it."
    assert reason_of(output, -9) == "failed: killed by SIGKILL, probably for lack of memory"
    output.write_text("x" * 10**6 + "\nlast\x1b[31m words\n\n")
    assert reason_of(output, 1) == "failed: last\\x1b[31m words"
    assert reason_of(output, 0).startswith("failed: it ended well, but its result is of other settings")
    output.write_text("")
    assert reason_of(output, 1) == "failed: it printed nothing"


BAD = {
    "unknown table": (["--table=5"], "no table '5'"),
    "unknown model": (["--models=Pop SASRecc"], "SASRecc"),
    "no models": (["--models= "], "--models is empty"),
    "two kinds of rows": (["--models=Pop", "--table=2"], "not allowed with"),
    "unknown setting": (["--models=Pop", "--learnin_rate=1"], "Did you mean 'learning_rate'"),
    "not a setting": (["--models=Pop", "--epochs"], "--epochs is no option of compare"),
    "a seed": (["--models=Pop", "--seed=1"], "Give --seeds"),
    "bad seeds": (["--models=Pop", "--seeds=a"], "not whole numbers"),
    "no jobs": (["--models=Pop", "--jobs=0"], "not a number of processes"),
    "unknown baseline": (["--models=Pop BPR", "--baseline=Bop"], "Did you mean 'Pop'"),
    "rows and runs": (["runs", "--models=Pop"], "Leave one out"),
    "a setting of the row": (["--table=6", "--finetune=top"], "this table sets it"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_message_before_anything_runs(what, settings, capfd):
    arguments, said = BAD[what]
    own = [f"--{key}={settings[key]}" for key in ("data_path", "checkpoint_dir", *QUIET)]
    assert main(["compare", "--dataset=tiny", *arguments, *own]) == 2
    captured = capfd.readouterr()
    assert said in captured.err and "Traceback" not in captured.err
    assert not Path(settings["checkpoint_dir"]).exists()


GRIDS = {
    "unknown key": ("model: Pop\nlearnin_rate: [1]\n", "Did you mean 'learning_rate'"),
    "no model": ("epochs: [1, 2]\n", "names no model"),
    "no values": ("model: Pop\nepochs: []\n", "epochs has no values"),
    "a wrong value": ("model: SASRecID\nepochs: [1, many]\n", "epochs"),
    "a seed": ("model: Pop\nseed: [1]\n", "Give it as --seeds"),
    "too many": (
        "model: Pop\nepochs: [" + "1," * 200 + "1]\ntrain_batch_size: [" + "1," * 99 + "1]\n",
        "20,100",
    ),
    "not a dict": ("- 1\n", "key: value"),
}


@pytest.mark.parametrize("what", GRIDS)
def test_a_wrong_grid_is_one_message(what, settings, capfd, tmp_path):
    text, said = GRIDS[what]
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    own = [f"--{key}={settings[key]}" for key in ("data_path", "checkpoint_dir", *QUIET)]
    assert main(["compare", "--dataset=tiny", f"--grid={path}", *own]) == 2
    assert said in capfd.readouterr().err


def test_without_rows_options_of_tables_are_refused_and_nothing_is_a_message(capfd):
    for arguments, said in (
        (["compare"], "give run folders to show"),
        (["compare", "runs", "--seeds=1"], "--seeds is for tables whose rows are run"),
        (["compare", "runs", "--epochs=1"], "--epochs is for tables whose rows are run"),
        (["compare", "--models=Pop"], "--dataset is missing"),
    ):
        assert main(arguments) == 2
        assert said in capfd.readouterr().err


def test_a_dry_run_says_what_is_done_and_what_is_to_do(settings, capsys):
    run("Pop", "tiny", config_dict=settings)
    own = [f"--{key}={settings[key]}" for key in ("data_path", "checkpoint_dir", *QUIET)]
    rows = ["compare", "--dataset=tiny", "--models=Pop SASRecID", "--seeds=2020,1", "--dry-run", "--epochs=2"]
    assert main([*rows, *own]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/4] Pop, seed 2020: finished: ")
    assert "Pop, seed 1: to run, about" in lines[1] and "(as a finished run)" in lines[1]
    assert "time unknown, about" in lines[2] and "of model and optimiser" in lines[2]
    assert lines[-1].endswith("and 2 whose time is unknown") and len(folders(settings)) == 1


def test_runs_made_by_hand_are_tested_and_what_cannot_be_is_a_message(settings, capfd, tmp_path):
    small = settings | SMALL | {"epochs": 1}
    for seed in (1, 2):
        run("SASRecID", "tiny", config_dict=small | {"seed": seed})
    run("Pop", "tiny", config_dict=settings)
    root = str(settings["checkpoint_dir"])
    assert main(["compare", root, "--baseline=Pop", f"--out={tmp_path / 'table'}"]) == 0
    forms = {path.suffix: path.stat().st_size for path in tmp_path.glob("table.*")}
    assert forms.keys() == {".md", ".csv", ".tex", ".png", ".svg"} and min(forms.values()) > 100
    out = capfd.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith("| SASRecID") and "±" in line][:1]
    assert line.count("±") == 4 and (tmp_path / "table.csv").is_file()

    for refused, said in (
        (["--baseline=Popp"], "Did you mean 'Pop'"),
        (["--baseline=Pop", "--metric=gauc"], "gauc"),
    ):
        assert main(["compare", root, *refused]) == 2
        assert said in capfd.readouterr().err
    longer = run("Pop", "tiny", config_dict=settings | {"max_user_interactions": 12})
    assert main(["compare", root, "--baseline=Pop"]) == 2
    assert "cannot be tested against each other: max_user_interactions is 12 and 13" in capfd.readouterr().err
    ranks = Path(longer["folder"]) / "ranks.npz"
    ranks.unlink()
    assert main(["compare", root, "--baseline=Pop"]) == 2
    captured = capfd.readouterr()
    assert "has no ranks.npz" in captured.err and "Traceback" not in captured.err


@pytest.mark.slow
def test_rows_are_run_on_cold_items_and_made_anew_for_another_cut(settings, capfd, tmp_path):
    chosen = words(settings, protocol="cold", cold_cut=0.7)
    command = ["compare", "--dataset=tiny", "--models=Pop", f"--out={tmp_path / 'cold'}"]
    assert main([*command, *chosen]) == 0
    assert "## Models on tiny: cold items (cold_cut 0.7), ranked among all items" in capfd.readouterr().out
    (folder,) = folders(settings)
    assert main([*command, *chosen, "--dry-run"]) == 0
    assert f"finished: {folder}" in capfd.readouterr().out
    assert main([*command, *words(settings, protocol="cold", cold_cut=0.6), "--dry-run"]) == 0
    assert "Pop: to run" in capfd.readouterr().out
    run("Pop", "tiny", config_dict=settings)
    assert main(["compare", str(settings["checkpoint_dir"]), "--baseline=Pop"]) == 2
    assert "they were tested on" in capfd.readouterr().err
