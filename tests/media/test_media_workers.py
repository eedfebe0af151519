"""Tasks that kill, hang or fail their process are reported, and cost no other task its result."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import workers
from recbole_microlens.media.limits import TaskLimits
from recbole_microlens.media.workers import Failure, run_in_processes


def misbehave(task):
    if task == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "exit":
        os._exit(3)
    if task == "raise":
        raise KeyError("x")
    if task == "hang":
        time.sleep(60)
    if task == "compute":
        while True:
            pass
    if task == "swell":
        return len(bytearray(1 << 29))
    return task * 2


class DiesWhenUnpickled:
    def __reduce__(self):
        return os._exit, (5,)

    def __call__(self, task):
        return task


def test_only_the_task_that_kills_its_process_is_lost():
    tasks = ["a", "segfault", "b", "exit", "raise", "c", "d"]
    results = dict(run_in_processes(misbehave, tasks, 2))
    assert {task: results[task] for task in "abcd"} == {"a": "aa", "b": "bb", "c": "cc", "d": "dd"}
    assert "SIGSEGV" in results["segfault"].reason
    assert "exit code 3" in results["exit"].reason
    assert results["raise"] == Failure("unexpected KeyError: 'x'")
    assert len(results) == len(tasks)


def test_task_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(workers, "TASK_SECONDS", 3.0)
    results = dict(run_in_processes(misbehave, ["hang", "a"], 2))
    assert results["a"] == "aa" and "longer than 3 s" in results["hang"].reason


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory are Linux's")
def test_task_that_takes_all_time_or_memory_is_given_up(monkeypatch):
    monkeypatch.setattr(workers, "LIMITS", TaskLimits(cpu_seconds=1, memory_bytes=1 << 28))
    results = dict(run_in_processes(misbehave, ["a", "swell", "b", "compute", "c"], 1))
    assert {task: results[task] for task in "abc"} == {"a": "aa", "b": "bb", "c": "cc"}
    assert results["swell"] == Failure("needs more than 0.25 GiB of memory")
    assert results["compute"] == Failure("takes more than 1 s of processor time")


def test_processes_that_cannot_start_are_one_error_not_a_failure_of_every_task():
    with pytest.raises(MicroLensError, match="ended as it started .exit code 5"):
        list(run_in_processes(DiesWhenUnpickled(), ["a", "b"], 1))


WITHOUT_GUARD = """
from pathlib import Path

from recbole_microlens.media.build import build_covers

print("script")
report = build_covers("covers", ["1"], "cover.lmdb", size=16, progress=False)
print(report.stored)
"""


def test_a_script_needs_no_guard_and_runs_once(tmp_path):
    (tmp_path / "covers").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "covers" / "1.jpg")
    (tmp_path / "script.py").write_text(WITHOUT_GUARD)
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("script\n1\n", 0), done.stderr[-500:]


ENDLESS_TASK = """
import time
from recbole_microlens.media import workers

if __name__ == "__main__":
    start = workers._start
    workers._start = lambda *arguments: report(start(*arguments))

    def report(worker):
        print(worker.process.pid, flush=True)
        return worker

    list(workers.run_in_processes(time.sleep, [120], 1))
"""


def test_busy_processes_end_with_a_caller_that_is_killed(tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS_TASK)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment) as caller:
        worker = Path(f"/proc/{int(caller.stdout.readline())}")
        time.sleep(1.0)  # it has its task by now
        assert worker.exists()
        caller.kill()
    deadline = time.monotonic() + 10
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()


def test_no_tasks_need_no_process():
    assert list(run_in_processes(misbehave, [], 2)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked from a server on Linux")
def test_ctrl_c_while_processes_start_is_seen_by_the_caller_alone():
    """A process group gets it as a whole; the server is in the middle of its imports."""
    program = (
        "import os, signal\n"
        "from multiprocessing import forkserver\n"
        "from recbole_microlens.media import workers\n"
        "from recbole_microlens.media.verify import check_items\n"
        "start = forkserver.ensure_running\n"
        "forkserver.ensure_running = lambda: (start(), os.killpg(0, signal.SIGINT))\n"
        "try:\n"
        "    list(workers.run_in_processes(check_items, [1], 1))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, start_new_session=True
    )
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
