"""Start a run as several processes of this machine, as ``nproc`` asks for.

``torchrun`` works as well, see the documentation. It is not used here because it turns a user's error (exit
code 2, one sentence) into a report of its own and exit code 1, and does not pass SIGUSR1 on.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

from recbole_microlens.training import interruption

_PATIENCE_SECONDS = 20.0


def launch(arguments: list[str], processes: int) -> int:
    """Run ``python -m recbole_microlens run`` with these arguments as several processes of this machine.

    Returns
    -------
    int
        The exit code: 0, or that of the process that failed first; the others are then ended.
    """
    command = [sys.executable, "-m", "recbole_microlens", "run", *arguments]
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    if "OMP_NUM_THREADS" not in os.environ:
        common["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    running: list[subprocess.Popen] = []
    try:
        with interruption.passed_on(lambda number: _send(running, number)):
            for number in range(processes):
                own = {"RANK": str(number), "LOCAL_RANK": str(number)}
                running.append(subprocess.Popen(command, env={**os.environ, **common, **own}))
            return _first_failure(running)
    except KeyboardInterrupt:
        return 130  # The first process says how the run is resumed.
    finally:
        _end(running)


def _send(running: list[subprocess.Popen], number: int) -> None:
    for process in running:
        process.send_signal(number)


def _end(running: list[subprocess.Popen]) -> None:
    """End all that still run; one that waits for another in a library hears of it only when that one ends."""
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_failure(running: list[subprocess.Popen]) -> int:
    while True:
        codes = [process.poll() for process in running]
        failed = [code for code in codes if code]
        if failed:
            return failed[0]
        if all(code == 0 for code in codes):
            return 0
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
