"""Run a function over many tasks in processes that may die: a file that crashes the decoder costs only
itself.

Not ``pebble``'s pool: its workers share one pipe, whose lock goes with a worker that is killed as it answers,
and if the caller is killed, they continue with their tasks, for ever with one that has no end.
"""

import collections
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.limits import TaskLimits

TASK_SECONDS = 600.0
"""A task that takes longer is given up: some broken videos keep a decoder busy forever."""

LIMITS = TaskLimits()
"""A task that computes for longer, or asks for more memory, is given up too."""


@dataclass(frozen=True)
class Failure:
    """A task that gave no result, and why."""

    reason: str


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    task: Any = None
    deadline: float = field(default_factory=lambda: time.monotonic() + TASK_SECONDS)
    started: bool = False


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_processes(function: Callable, tasks: Iterable, workers: int) -> Iterator[tuple[Any, Any]]:
    """Yield ``(task, function(task))`` as each is done, or ``(task, Failure)`` where there is no result.

    Each process holds one task at a time, so when one dies the task to blame is known, and a new process
    takes over for the others. Processes are forked from a clean server (or spawned), never from the caller,
    who may run threads. They end with the caller, however that ends. Raises ``MicroLensError`` where
    processes cannot start at all.
    """
    context = _context(function)
    queue = collections.deque(tasks)
    pool: list[_Worker] = []
    try:
        pool.extend(_start(context, function) for _ in range(min(workers, len(queue))))
        while pool:
            for worker in _ready(pool):
                done = _receive(worker)
                if worker.connection.closed:
                    pool.remove(worker)
                    if queue:
                        pool.append(_start(context, function))
                elif queue:
                    _send(worker, queue.popleft())
                else:
                    pool.remove(worker)
                    _stop(worker)
                if done is not None:
                    yield done
    finally:
        for worker in pool:
            _stop(worker)


def _context(function: Callable):
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    module = getattr(getattr(function, "func", function), "__module__", None)
    context.set_forkserver_preload([module] if module else [])
    resource_tracker.ensure_running()  # which the server asks for, and which lets interrupts through again
    with _interrupts_held():
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """A process that starts inside the block never sees Ctrl-C, which would end its imports in a traceback;
    this one sees it afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(context, function: Callable) -> _Worker:
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, function, LIMITS), daemon=True)
    with _script_left_alone(function):
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextlib.contextmanager
def _script_left_alone(function: Callable) -> Iterator[None]:
    """Inside the block a process is started that does not run the caller's script again.

    Python runs it in every new process, for functions that are defined in it: with all that it imports, for
    seconds, and for ever where it has no ``if __name__ == "__main__":``. Ours stand in modules.
    """
    script = sys.modules["__main__"]
    if getattr(getattr(function, "func", function), "__module__", None) == script.__name__:
        yield
        return
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _serve(connection: Connection, function: Callable, limits: TaskLimits) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the caller, which stops us in order
    threading.Thread(target=_exit_with_caller, daemon=True).start()
    with contextlib.suppress(EOFError, ConnectionError):  # the caller no longer needs us
        connection.send(None)
        limits.limit_memory()
        while True:
            task = connection.recv()
            limits.limit_time()
            connection.send(_attempt(function, task, limits))


def _attempt(function: Callable, task: Any, limits: TaskLimits) -> Any:
    try:
        return function(task)
    except MemoryError:
        return Failure(f"needs more than {limits.memory_bytes / (1 << 30):.3g} GiB of memory")
    except Exception as error:  # the process must answer, whatever went wrong with one task
        return Failure(f"unexpected {type(error).__name__}: {error}")


def _exit_with_caller() -> None:
    caller = multiprocessing.parent_process()
    assert caller is not None  # this runs in a worker
    wait([caller.sentinel])
    os._exit(1)


def _ready(pool: list[_Worker]) -> list[_Worker]:
    soonest = min(worker.deadline for worker in pool)
    readable = wait([worker.connection for worker in pool], max(0.0, soonest - time.monotonic()))
    now = time.monotonic()
    return [worker for worker in pool if worker.connection in readable or worker.deadline <= now]


def _send(worker: _Worker, task: Any) -> None:
    worker.task, worker.deadline = task, time.monotonic() + TASK_SECONDS
    with contextlib.suppress(BrokenPipeError):  # it died since its last answer, which the next read will tell
        worker.connection.send(task)


def _receive(worker: _Worker) -> tuple[Any, Any] | None:
    """The task that this worker is done with and its result; None where it only says that it has started."""
    if not worker.connection.poll():
        _stop(worker)
        return worker.task, Failure(f"took longer than {TASK_SECONDS:.0f} s")
    try:
        result = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        _stop(worker)
        if not worker.started:
            raise MicroLensError(
                f"a worker process ended as it started ({_describe_exit(worker.process)}), see above."
            ) from None
        return worker.task, Failure(_reason_of_end(worker.process))
    if not worker.started:
        worker.started = True
        return None
    return worker.task, result


def _reason_of_end(process: BaseProcess) -> str:
    ended_by = _describe_exit(process)
    if ended_by == "SIGXCPU":
        return f"takes more than {LIMITS.cpu_seconds} s of processor time"
    return f"kills the process that decodes it ({ended_by})"


def _describe_exit(process: BaseProcess) -> str:
    code = process.exitcode
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def _stop(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.kill()
    worker.process.join()
