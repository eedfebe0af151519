"""The command line as a user meets it: what it prints, its exit codes, and no traceback on bad input."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from recbole_microlens import cli
from recbole_microlens.cli.run import parse_settings
from recbole_microlens.errors import MicroLensError

ROOT = Path(__file__).parents[2]


def options(settings):
    return [f"--{key}={value}" for key, value in settings.items()]


def test_release_to_result_in_three_commands(tiny_release, content_settings, tmp_path, capsys):
    out = str(tmp_path / "atomic")
    assert cli.main(["convert", str(tiny_release), "--dataset", "mine", "--data-path", out]) == 0
    assert "interactions" in capsys.readouterr().out
    frames = ["frames", str(tiny_release), "--dataset", "mine", "--data-path", out, "--workers", "1"]
    assert cli.main([*frames, "--size", "32", "--num-frames", "2"]) == 0
    assert "items (" in capsys.readouterr().out
    chosen = content_settings | {"data_path": out, "epochs": 1}
    assert cli.main(["run", "--model=SASRecV", "-d", "mine", *options(chosen)]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-2:]
    assert last[0].startswith("test: hit@10 ")
    folder = Path(last[1].removeprefix("run folder: "))
    result = json.loads((folder / "result.json").read_text())
    assert f"{result['test_result']['ndcg@20']:.4f}" in last[0]

    assert cli.main(["compare", str(folder.parent)]) == 0
    assert f"{result['test_result']['hit@10']:.4f}" in capsys.readouterr().out


def test_covers_and_verify(tiny_release, tiny_data, tmp_path, capsys):
    shutil.copytree(tiny_data / "tiny", tmp_path / "tiny", ignore=shutil.ignore_patterns("cover.lmdb"))
    arguments = ["--dataset", "tiny", "--data-path", str(tmp_path), "--size", "32", "--workers", "1"]
    assert cli.main(["covers", str(tiny_release), *arguments]) == 0
    assert cli.main(["verify", "--dataset", "tiny", "--data-path", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "video.lmdb: 0 problems" in printed and "cover.lmdb: 0 problems" in printed

    items = (tmp_path / "tiny" / "tiny.item").read_text()
    (tmp_path / "tiny" / "tiny.item").write_text(items + "999\tlate\t\t\t\n")
    assert cli.main(["verify", "--dataset", "tiny", "--data-path", str(tmp_path)]) == 1
    assert "999: missing from the store" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["run", "--model=SASRekV", "--dataset=tiny"], "Did you mean 'SASRecV'"),
        (["run", "--model=SASRecV", "--dataset=tiny", "--frame_sise=3"], "Did you mean 'frame_size'"),
        (
            ["run", "--model=SASRec", "--dataset=absent"],
            "recbole-microlens convert RELEASE_FOLDER --dataset absent",
        ),
        (["run", "--model=SASRec"], "No dataset is given"),
        (["run", "SASRec"], "Write settings as --key=value"),
        (["run", "--model=SASRec", "--epochs"], "--epochs has no value"),
        (["run", "--resume=nowhere"], "nowhere is not a run folder"),
        (["run", "--model=SASRec", "--dataset=d", "--eval_args=3"], "eval_args: 3 is not a dict"),
        (["convert", "nowhere", "--dataset", "d"], "nowhere"),
        (["frames", "nowhere", "--dataset", "d"], "First run: recbole-microlens convert"),
        (["verify", "absent"], "First run: recbole-microlens convert"),
        (["compare", "nowhere"], "no finished run"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.pth"))


def test_a_damaged_interaction_file_is_one_message(settings, write_inter, capsys):
    data_path = write_inter("bad", [("u", "i", "yesterday")])
    chosen = settings | {"data_path": str(data_path)}
    assert cli.main(["run", "--model=BPR", "--dataset=bad", *options(chosen)]) == 2
    assert "bad.inter, line 2: column timestamp: 'yesterday' is not a finite" in capsys.readouterr().err


def test_settings_take_both_spellings():
    settings = parse_settings(["-m", "SASRecV", "--dataset", "d", "--eval_args={'order': 'TO'}", "--a=b=c"])
    assert settings == {"model": "SASRecV", "dataset": "d", "eval_args": "{'order': 'TO'}", "a": "b=c"}
    with pytest.raises(MicroLensError):
        parse_settings(["--=3"])


def test_of_a_setting_given_twice_the_last_counts():
    """So that a script may end in `"$@"`."""
    assert parse_settings(["--epochs=1", "-m", "A", "--epochs", "2", "--model=B"]) == {
        "epochs": "2",
        "model": "B",
    }


def test_out_of_memory_says_what_to_change(monkeypatch, capsys):
    import torch

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("recbole_microlens.quick_start.run", full)
    assert cli.main(["run", "--model=SASRecV", "--dataset=d"]) == 2
    error = capsys.readouterr().err
    assert "Out of memory" in error and "`train_batch_size`" in error and "`precision: bf16`" in error


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "recbole_microlens", "--help"],
        pytest.param([str(ROOT / "run_recbole_ml.py"), "--help"], marks=pytest.mark.slow),
    ],
)
def test_help_names_every_command_and_model(command, tmp_path):
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=_with_package()
    )
    assert done.returncode == 0, done.stderr
    words = ["convert", "frames", "covers", "verify", "sample", "extract", "compare", "tune", "doctor"]
    assert all(word in done.stdout for word in (["--resume", "SASRecV"] if "run_" in command[0] else words))


@pytest.mark.slow
def test_wheel_holds_the_properties_and_runs_from_another_folder(tmp_path):
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        "wheel",
        "./source",
    ]
    ignored = shutil.ignore_patterns(".*", "dataset_atomic", "runs", "tests", "*.egg-info", "build")
    shutil.copytree(ROOT, tmp_path / "source", ignore=ignored)
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    code = (
        "from recbole_microlens.config import Config, properties_folder as p; import recbole_microlens as r; "
        "print(r.__file__, p(), Config('SASRecV', 'd', config_dict={'use_gpu': False})['hidden_size'])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],  # without the editable install of this checkout
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=_with_package(f"{tmp_path / 'installed'}{os.pathsep}{sysconfig.get_paths()['purelib']}"),
    )
    assert done.stdout.count(str(tmp_path / "installed")) == 2 and done.stdout.endswith(" 512\n"), done.stderr
    entry_points = (tmp_path / "installed").glob("*.dist-info/entry_points.txt")
    assert "recbole-microlens = recbole_microlens.cli:main" in next(entry_points).read_text()


def _with_package(folder=ROOT):
    return os.environ | {"PYTHONPATH": str(folder)}


def test_the_dataset_may_still_be_given_by_position_but_once(tiny_data, capsys):
    where = ["--out", str(tiny_data)]  # the old name of --data-path
    assert cli.main(["verify", "tiny", *where]) == 0
    assert cli.main(["verify", "tiny", "--dataset", "tiny", *where]) == 2
    assert cli.main(["verify", *where]) == 2
    assert "Write --dataset=NAME." in capsys.readouterr().err


def test_an_unexpected_error_is_one_line_and_with_debug_a_traceback(monkeypatch, capsys):
    def broken(*_):
        raise KeyError("nobody thought of this")

    monkeypatch.setattr("recbole_microlens.evaluation.compare.format_results", broken)
    assert cli.main(["compare", "runs"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "unexpected error: KeyError: 'nobody thought of this'" in said
    assert cli.main(["compare", "runs", "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err
