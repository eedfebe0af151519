"""Start a run as several processes of this machine, as ``nproc`` asks for."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time


def launch(arguments: list[str], processes: int) -> int:
    """Run ``python -m recbole_microlens run`` with these arguments as several processes of this machine.

    Returns
    -------
    The exit code: 0, or that of the process that failed first; the others are then ended.
    """
    command = [sys.executable, "-m", "recbole_microlens", "run", *arguments]
    common = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    if "OMP_NUM_THREADS" not in os.environ:
        common["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // processes))
    running = []
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nobody is left behind
    try:
        for number in range(processes):
            own = {"RANK": str(number), "LOCAL_RANK": str(number)}
            running.append(subprocess.Popen(command, env={**os.environ, **common, **own}))
        return _first_failure(running)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        signal.signal(signal.SIGTERM, before)


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
