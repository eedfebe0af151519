"""Runs the cells that have no result, each in a process of its own: one that fails fails alone."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm

from recbole_microlens.comparison.cells import Cell, Request, command_of
from recbole_microlens.comparison.found import RunsBelow
from recbole_microlens.errors import printable
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.files import locked_folder
from recbole_microlens.training.run_estimate import in_words

CELLS, OUTPUT = ".cells", "output.txt"
_LOOK_EVERY_S = 0.2
_PATIENCE_S = 20.0
_TAIL_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
_MOST_OF_A_REASON = 300


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    Attributes
    ----------
    cell : Cell
    folder : Path or None
        Of its finished run.
    reason : str
        Why there is none.
    """

    cell: Cell
    folder: Path | None
    reason: str = ""


@dataclass
class _Started:
    cell: Cell
    process: subprocess.Popen
    held: ExitStack
    output: Path
    begun: float
    slot: int
    is_told_to_end: bool = False


class Runner:
    """Brings cells to their results.

    Parameters
    ----------
    request : Request
        What the cells have in common.
    root : Path
        The ``checkpoint_dir`` that finished runs are looked for in.
    jobs : int
        Cells that run at the same time. Where there are several GPUs, each takes the next one.
    watch : callable, optional
        Called with a cell and the output of its process while it runs; True ends the cell.
    """

    def __init__(
        self,
        request: Request,
        root: Path,
        jobs: int = 1,
        watch: Callable[[Cell, Path], bool] | None = None,
    ):
        self._request, self._root, self._jobs, self._watch = request, root, jobs, watch
        self._runs = RunsBelow(root)
        self._running: list[_Started] = []

    def run(self, cells: list[Cell]) -> list[Outcome]:
        """The outcome of each cell, in their order; a line and a step of a bar for each that ends."""
        self._runs.look()
        outcomes: dict[int, Outcome] = {}
        waiting = deque(range(len(cells)))
        of_process: dict[int, int] = {}
        with tqdm(total=len(cells), desc="cells", ncols=80, disable=None) as bar:

            def ended(number: int, outcome: Outcome, how: str) -> None:
                outcomes[number] = outcome
                bar.update()
                tqdm.write(f"[{len(outcomes)}/{len(cells)}] {outcome.cell.name}: {how}", file=sys.stderr)

            try:
                while len(outcomes) < len(cells):
                    for _ in range(len(waiting)):
                        number = waiting.popleft()
                        found = self._begin(cells[number])
                        if found is None:
                            waiting.append(number)
                        elif isinstance(found, Outcome):
                            ended(number, found, found.reason or f"finished before, {_told(found.folder)}")
                        else:
                            of_process[found.process.pid] = number
                    for started in self._ended():
                        outcome, how = self._outcome(started)
                        ended(of_process[started.process.pid], outcome, how)
                    if len(outcomes) < len(cells):
                        time.sleep(_LOOK_EVERY_S)
            finally:
                self._stop()
        return [outcomes[number] for number in range(len(cells))]

    def _begin(self, cell: Cell) -> Outcome | _Started | None:
        """Start a cell that has no result; ``None`` while it must wait, for its turn or another process."""
        if cell.refused:
            return Outcome(cell, None, f"failed: {printable(cell.refused)}")
        if cell.identity in self._runs.finished:
            return Outcome(cell, self._runs.finished[cell.identity])
        if len(self._running) >= self._jobs or any(s.cell.identity == cell.identity for s in self._running):
            return None
        held, folder = ExitStack(), self._root / CELLS / cell.identity
        if not held.enter_context(locked_folder(folder)):
            held.close()
            return None
        self._runs.look()  # Another process may have finished it while this one came here.
        begun = self._runs.interrupted.get(cell.identity)
        if cell.identity in self._runs.finished:
            held.close()
            return Outcome(cell, self._runs.finished[cell.identity])
        if begun is not None and _is_running(begun):
            held.close()
            return None
        return self._started(cell, held, folder / OUTPUT, begun)

    def _started(self, cell: Cell, held: ExitStack, output: Path, begun: Path | None) -> _Started:
        slot = min(set(range(self._jobs)) - {started.slot for started in self._running})
        words = command_of(cell, self._request) if begun is None else [f"--resume={begun}"]
        gpus = torch.cuda.device_count() if self._jobs > 1 else 0
        if gpus > 1 and "gpu_id" not in self._request.settings:
            words.append(f"--gpu_id={slot % gpus}")
        environment = dict(os.environ)
        if self._jobs > 1:
            threads = max(1, (os.cpu_count() or 1) // self._jobs)
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "recbole_microlens", "run", *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
                preexec_fn=partial(_end_with_parent, os.getpid()) if sys.platform == "linux" else None,
            )
        started = _Started(cell, process, held, output, time.monotonic(), slot)
        self._running.append(started)
        return started

    def _ended(self) -> list[_Started]:
        for started in self._running:
            if self._watch is None or started.is_told_to_end or started.process.poll() is not None:
                continue
            if self._watch(started.cell, started.output):
                started.is_told_to_end = True
                started.process.terminate()
        ended = [started for started in self._running if started.process.poll() is not None]
        self._running = [started for started in self._running if started not in ended]
        return ended

    def _outcome(self, started: _Started) -> tuple[Outcome, str]:
        took = in_words(time.monotonic() - started.begun)
        self._runs.look()
        folder = self._runs.finished.get(started.cell.identity)
        if folder is not None:
            shutil.rmtree(started.output.parent, ignore_errors=True)
            started.held.close()
            return Outcome(started.cell, folder), f"{_told(folder)} in {took}"
        started.held.close()
        reason = reason_of(started.output, started.process.returncode)
        return Outcome(started.cell, None, reason), f"{reason} (after {took}; {started.output} has all)"

    def _stop(self) -> None:
        """End what still runs, where this process is interrupted."""
        for started in self._running:
            started.process.terminate()
        deadline = time.monotonic() + _PATIENCE_S
        for started in self._running:
            try:
                started.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                started.process.kill()
                started.process.wait()
            started.held.close()
        self._running = []


def reason_of(output: Path, code: int) -> str:
    """Why a run ended without a result: its last line that tells of an error, or what killed it."""
    lines = tail(output)
    errors = [line for line in lines if line.startswith(("error:", "unexpected error:"))]
    said = (errors or lines or ["it printed nothing"])[-1]
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        killed = f"killed by {name}"
        said = f"{killed}, probably for lack of memory" if -code == signal.SIGKILL else killed
    elif code == 0:
        said = f"it ended well, but its result is of other settings or data than asked for; last: {said}"
    return f"failed: {printable(said.removeprefix('error: '))[:_MOST_OF_A_REASON]}"


def tail(output: Path) -> list[str]:
    """The last lines of what a process printed, without empty ones."""
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - _TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _told(folder: Path | None) -> str:
    assert folder is not None
    metrics = read_result(folder / RESULT)["test_result"]
    return " ".join(f"{name} {value:.4f}" for name, value in list(metrics.items())[:1])


def _is_running(folder: Path) -> bool:
    with locked_folder(folder) as is_free:
        return not is_free


def _end_with_parent(parent: int) -> None:
    """In the process that is to become the run: end when the one that started it ends, however it does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
