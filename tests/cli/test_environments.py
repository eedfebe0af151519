"""Commands in an odd world: the output, the locale, the working directory, the shared memory."""

import os
import subprocess
import sys

import pytest
import torch

from recbole_microlens.cli import failures
from recbole_microlens.compat import loader_workers
from recbole_microlens.errors import MicroLensError

COMMAND = [sys.executable, "-m", "recbole_microlens"]
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def ended(arguments, **options):
    environment = os.environ | options.pop("environment", {})
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, text=True, timeout=120, stderr=subprocess.PIPE, **options
    )


def test_an_output_that_nobody_reads_ends_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    done = ended(["--help"], stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("arguments", [["--help"], pytest.param(["run", "--help"], marks=pytest.mark.slow)])
def test_an_output_that_cannot_be_written_is_told(arguments):
    with open("/dev/full", "w") as full:
        done = ended(arguments, stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: no space is left on the disk.")
    assert done.stderr.count("\n") == 1


def test_warnings_that_a_user_makes_errors_stay_warnings(tiny_release, tmp_path):
    arguments = ["convert", str(tiny_release), "--dataset=x", f"--out={tmp_path}"]
    done = ended(arguments, environment={"PYTHONWARNINGS": "error"}, stdout=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="locales differ")
def test_a_name_that_the_locale_cannot_read_is_told():
    done = ended(["convert", "x", "--dataset=café"], environment=ASCII, stdout=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "characters that the locale cannot read" in done.stderr and "LANG=C.UTF-8" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="locales differ")
def test_characters_that_a_terminal_cannot_show_are_printed_as_numbers():
    program = (
        "from recbole_microlens.cli.failures import ended; raise SystemExit(ended(lambda: print(chr(233))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | ASCII, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\\xe9\n", "")


def test_a_working_directory_that_is_gone_is_told(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert failures.ended(lambda: 0) == 2
    assert capsys.readouterr().err.startswith("error: The working directory no longer exists.")


class _Batches(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, number):
        batch = torch.full((3,), float(number))
        loader_workers.hand_over([batch])
        return batch.is_shared(), batch


def test_workers_share_their_tensors_themselves():
    loader = torch.utils.data.DataLoader(_Batches(), batch_size=None, num_workers=1)
    assert [(shared, batch.tolist()) for shared, batch in loader] == [(True, [0.0] * 3), (True, [1.0] * 3)]
    own = torch.zeros(3)
    loader_workers.hand_over([own])
    assert not own.is_shared()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are not forked here")
def test_a_worker_ends_with_its_parent_even_if_that_was_killed_as_it_began():
    end = loader_workers.EndWithParent()
    worker = os.fork()
    if worker == 0:
        end._parent += 1  # another process than the one that it finds
        end(0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 1
    worker = os.fork()
    if worker == 0:
        end(0)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0


@pytest.mark.parametrize(
    "said",
    [
        "unable to write to file </torch_7_1_0>: No space left on device (28)",
        "unable to mmap 64 bytes from file </torch_7_1_0>: Cannot allocate memory (12)",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that it is out of "
        "shared memory.",
    ],
)
def test_too_little_shared_memory_is_told(said, capsys):
    def command():
        raise RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\nTraceback ...\n{said}")

    assert failures.ended(command) == 2
    error = capsys.readouterr().err
    assert "/dev/shm" in error and "--worker=0" in error and error.count("\n") == 1


def test_an_error_of_a_worker_is_told_without_its_traceback():
    error = MicroLensError("Caught MicroLensError in DataLoader worker process 0.\nMicroLensError: it is so")
    assert str(error) == "it is so"
