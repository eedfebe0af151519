"""Where output is no terminal there are no bars, colours or control codes in it."""

import subprocess
import sys

import pytest

CONTROL = ("\r", "\x1b", "it/s")
SHORT = {"use_gpu": False, "epochs": 2, "worker": 0}


def output_of(*command):
    """What a command writes to its two pipes."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return (done.stdout + done.stderr).decode()


def run_of(model, settings, folder):
    """What a run writes to its pipes, and its log."""
    options = [f"--{key}={value}" for key, value in (settings | {"checkpoint_dir": folder}).items()]
    output = output_of("-m", "recbole_microlens", "run", f"--model={model}", "--dataset=tiny", *options)
    (log,) = folder.rglob("log.txt")
    assert "epoch 1 training" in log.read_text() and "epoch 1 training" in output
    return output, log.read_bytes().decode()


@pytest.mark.parametrize("model", ["SASRecV", pytest.param("BPR", marks=pytest.mark.slow)])
def test_a_run_writes_plain_lines_and_no_warning_of_a_library(
    model, settings, content_settings, tiny_data, tmp_path
):
    more = {
        key: value for key, value in content_settings.items() if key not in settings and model == "SASRecV"
    }
    for text in run_of(model, {"data_path": tiny_data} | more | SHORT, tmp_path):
        assert [code for code in CONTROL if code in text] == []
        assert "Warning: " not in text


@pytest.mark.slow
def test_a_bar_that_is_asked_for_is_shown(tiny_data, tmp_path):
    settings = {"data_path": tiny_data} | SHORT | {"show_progress": True}
    output, log = run_of("BPR", settings, tmp_path)
    assert "\r" in output and "\r" not in log


SAMPLE = """
import sys
from pathlib import Path
from recbole_microlens.sample.release import write_release
write_release(Path(sys.argv[1]), users=24, items=16)
"""


@pytest.mark.slow
def test_the_commands_write_plain_lines(tiny_release, tmp_path):
    own = ("--dataset", "tiny", "--data-path", tmp_path)
    command = ("-m", "recbole_microlens")
    for arguments in (
        (*command, "convert", tiny_release, *own),
        (*command, "frames", tiny_release, *own, "--size", 32, "--workers", 1),
        (*command, "covers", tiny_release, *own, "--size", 32, "--workers", 1),
        (*command, "verify", "tiny", "--data-path", tmp_path),
        ("-c", SAMPLE, tmp_path / "release"),
    ):
        output = output_of(*arguments)
        assert [code for code in CONTROL if code in output] == []
