"""A run that is told to stop: by SIGTERM as by Ctrl-C, by SIGUSR1 with a checkpoint to go on from."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from two_processes import in_two

from recbole_microlens import cli, distributed
from recbole_microlens.cli import failures
from recbole_microlens.quick_start import run
from recbole_microlens.training import checkpoint, interruption
from recbole_microlens.training.trainer import ContentTrainer

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal here")


def arguments(settings):
    return [f"--{key}={value}" for key, value in settings.items() if value is not None]


@pytest.fixture
def signalled(monkeypatch):
    """Return a function (model, settings, steps, signal) -> exit code of a run that gets it after so many
    steps.
    """

    def command(model, settings, steps, number):
        left = steps
        original = ContentTrainer._step

        def step(self, *args):
            nonlocal left
            loss = original(self, *args)
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)
            return loss

        with monkeypatch.context() as patched:
            patched.setattr(ContentTrainer, "_step", step)
            return cli.main(["run", f"--model={model}", "--dataset=tiny", *arguments(settings)])

    return command


def state_of(folder):
    return checkpoint.load(Path(folder) / "last.pth")


def assert_same_end(resumed, unbroken):
    assert resumed["test_result"] == unbroken["test_result"]
    assert resumed["best_valid_result"] == unbroken["best_valid_result"]
    ends = [state_of(each["folder"]) for each in (resumed, unbroken)]
    for key, value in ends[0]["state_dict"].items():
        assert torch.equal(value, ends[1]["state_dict"][key]), key


# Three batches an epoch: in the middle of one, after the first step of all, after the last one of an epoch.
@pytest.mark.parametrize(
    "model, steps, workers",
    [
        ("SASRecV", 4, 0),
        pytest.param("SASRecV", 1, 1, marks=pytest.mark.slow),
        pytest.param("SASRecID", 6, 0, marks=pytest.mark.slow),
        pytest.param("BERT4RecID", 5, 0, marks=pytest.mark.slow),
    ],
)
def test_a_preempted_run_goes_on_in_the_middle_of_its_epoch(
    model, steps, workers, content_settings, signalled, capsys
):
    chosen = content_settings | {"epochs": 3, "train_batch_size": 10, "worker": workers}
    chosen |= {"encoder": None, "encoder_weights": None} if model.endswith("ID") else {}
    assert signalled(model, chosen, steps, signal.SIGUSR1) == 0
    error = capsys.readouterr().err
    folder = re.search(r"Stopped on the scheduler's request\. Continue with: .* --resume=(\S+)", error)[1]
    begun = state_of(folder)
    if model.startswith("SASRec"):
        assert begun["begun_epoch"]["steps"] == (steps - 1) % 3 + 1
        assert begun["epoch"] == (steps - 1) // 3 - 1
    assert not (Path(folder) / "result.json").exists()
    resumed = run(resume=folder)
    assert len(resumed["epoch_times_s"]) == 3
    assert_same_end(resumed, run(model, "tiny", config_dict=chosen))


def test_a_preempted_stock_run_goes_on_from_its_last_epoch(settings, monkeypatch, capsys):
    from recbole.model.general_recommender import BPR

    chosen = settings | {"epochs": 4}
    original, calls = BPR.calculate_loss, []

    def loss(self, batch):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(BPR, "calculate_loss", loss)
        assert cli.main(["run", "--model=BPR", "--dataset=tiny", *arguments(chosen)]) == 0
    folder = re.search(r"--resume=(\S+)", capsys.readouterr().err)[1]
    assert_same_end(run(resume=folder), run("BPR", "tiny", config_dict=chosen))


def test_sigterm_stops_as_ctrl_c_does_and_says_how_to_go_on(content_settings, signalled, capsys):
    assert signalled("SASRecV", content_settings, 2, signal.SIGTERM) == 130
    error = capsys.readouterr().err
    folder = re.search(r"Interrupted\. Continue with: .* --resume=(\S+)", error)[1]
    assert (Path(folder) / "config.yaml").is_file() and "Traceback" not in error
    assert_same_end(run(resume=folder), run("SASRecV", "tiny", config_dict=content_settings))


def test_a_library_call_leaves_signals_alone():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    with interruption.listening():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


def test_a_second_signal_while_the_command_ends_changes_nothing(capsys, monkeypatch):
    def command():
        raise KeyboardInterrupt

    original = failures._print_error

    def print_error(text):
        os.kill(os.getpid(), signal.SIGTERM)
        original(text)

    monkeypatch.setattr(failures, "_print_error", print_error)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert failures.ended(command) == 130
    assert "Interrupted" in capsys.readouterr().err
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interruption.listening():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def told_between_epochs(settings, told):
    """Run as one of several processes, of which those in ``told`` get the signal when their first epoch is
    over, and the first one late; return the exit code.
    """
    original = ContentTrainer._train_epoch

    def train_epoch(self, train_data, epoch, *args, **kwargs):
        loss = original(self, train_data, epoch, *args, **kwargs)
        if epoch == 0 and distributed.rank() in told:
            time.sleep(0 if distributed.rank() else 0.5)
            os.kill(os.getpid(), signal.SIGUSR1)
        return loss

    ContentTrainer._train_epoch = train_epoch
    return cli.main(["run", "--model=SASRecID", "--dataset=tiny", *arguments(settings)])


@pytest.mark.slow
@pytest.mark.parametrize("told", [(0,), (1,), (0, 1)])
def test_several_processes_that_are_told_between_two_epochs_stop_together(content_settings, told):
    chosen = content_settings | {"epochs": 30, "stopping_step": 30, "eval_step": 1}
    chosen |= {"encoder": None, "encoder_weights": None}
    assert in_two(told_between_epochs, chosen, told) == (0, 0)
    (folder,) = (Path(chosen["checkpoint_dir"]) / "tiny").iterdir()
    assert state_of(folder)["epoch"] < 29 and not (folder / "result.json").exists()


@pytest.mark.slow
def test_several_processes_stop_together_and_go_on(content_settings, tmp_path):
    chosen = content_settings | {"nproc": 2, "epochs": 400, "stopping_step": 400, "eval_step": 400}
    chosen |= {"encoder": None, "encoder_weights": None, "state": "INFO"}
    command = [sys.executable, "-m", "recbole_microlens", "run"]
    begin = [*command, "--model=SASRecID", "--dataset=tiny", *arguments(chosen)]
    with (tmp_path / "err.txt").open("w") as file:
        running = subprocess.Popen(begin, stderr=file)
        deadline = time.monotonic() + 200
        while "epoch 1 training" not in (tmp_path / "err.txt").read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        running.send_signal(signal.SIGUSR1)
        assert running.wait(120) == 0, (tmp_path / "err.txt").read_text()
    said = (tmp_path / "err.txt").read_text()
    assert said.count("Stopped on the scheduler's request") == 1 and "Traceback" not in said
    folder = re.search(r"--resume=(\S+)", said)[1]
    done = state_of(folder)["epoch"] + 1
    assert 1 <= done < 400
    again = subprocess.run(
        [*command, f"--resume={folder}", f"--epochs={done + 2}"], capture_output=True, text=True, timeout=200
    )
    assert again.returncode == 0, again.stderr
