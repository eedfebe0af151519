"""Runs commands of the command line in forks of one process that has imported everything: milliseconds each.

``python -m robustness.server`` reads a JSON object a line (see :class:`Server`) and answers with another. A
fork has its own memory, signals, limits and folder, so that a crash or a hang costs its own case alone.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
# A file larger than this is no outcome of a small input; the limit raises EFBIG as a full disk would ENOSPC.
MOST_BYTES = 1 << 30
_POLL_S = 0.002
# What torch, transformers and RecBole import only when it is used: two seconds of every training.
_IMPORTED_LATE = ("torch._dynamo", "torch.utils.tensorboard", "torch.utils.flop_counter")


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes
    ----------
    code : the exit code; ``-signal`` where a signal ended it.
    out, err : what it printed.
    timed_out : whether it was killed because it took too long.
    orphans : whether workers outlived it, where it was killed alone.
    """

    code: int
    out: str
    err: str
    seconds: float
    timed_out: bool
    orphans: bool = False

    @property
    def said(self) -> str:
        return self.out + self.err


class Server:
    """A process that has imported the package and runs commands in forks of itself."""

    def __init__(self):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
            "OMP_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONFAULTHANDLER": "",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robustness.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env=environment,
        )
        json.loads(self._process.stdout.readline())

    def run(
        self,
        argv: list[str],
        folder: Path,
        seconds: float = 60,
        faults: dict | None = None,
        log: str = "",
        alone: bool = False,
    ) -> Outcome:
        """Run a command in a folder.

        Parameters
        ----------
        argv : of the command line, without the program's name.
        folder : the working directory.
        seconds : after which it is killed.
        faults : see :mod:`robustness.faults`; none by default.
        alone : kill the process and not its workers, which must then end by themselves in twenty seconds.
        log : a name that tells the two files of what it printed from those of other commands.
        """
        out, err = folder / f".stdout{log}", folder / f".stderr{log}"
        request = {"argv": argv, "folder": str(folder), "seconds": seconds, "faults": faults, "alone": alone}
        self._process.stdin.write(json.dumps(request | {"out": str(out), "err": str(err)}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        for path in (out, err):
            path.touch()  # It may have been killed before it could.
        said = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        out.unlink()
        err.unlink()
        return Outcome(answer["code"], *said, answer["seconds"], answer["timed_out"], answer["orphans"])

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _serve() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What a library prints while it is imported is no answer.
    _import_everything()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=answers, flush=True)


def _import_everything() -> None:
    import importlib
    import multiprocessing
    import pkgutil

    from tiny import QUICK

    import recbole_microlens
    from recbole_microlens.config import Config
    from recbole_microlens.encoders import registry
    from recbole_microlens.media import workers

    skipped = ("__main__",)
    for module in pkgutil.walk_packages(recbole_microlens.__path__, "recbole_microlens."):
        if not module.name.endswith(skipped):
            importlib.import_module(module.name)
    for name in _IMPORTED_LATE:
        importlib.import_module(name)
    registry.ENCODERS[QUICK.name] = QUICK
    # Workers of their own for each case, as real as any, without a second import of everything.
    workers._context = lambda function: multiprocessing.get_context("fork")
    for model in ("SASRecID", "SASRecV", "BPR", "Pop"):
        Config(model, "none", config_dict={"use_gpu": False})


def _answer(request: dict) -> dict:
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        _run(request)
    ended = False
    while not ended and time.perf_counter() - started < request["seconds"]:
        done, status = os.waitpid(child, os.WNOHANG)
        ended = done == child
        if not ended:
            time.sleep(_POLL_S)
    seconds = time.perf_counter() - started
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    orphans = request["alone"] and not ended and _outlive(child)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # the workers that it left behind
    code = os.waitstatus_to_exitcode(status)
    return {"code": code, "seconds": seconds, "timed_out": not ended, "orphans": orphans}


def _outlive(group: int) -> bool:
    """Whether processes of a group whose first has ended are still there after twenty seconds."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        time.sleep(0.02)
    return True


def _run(request: dict) -> None:
    """The fork: never returns."""
    code = 1
    try:
        os.setsid()
        os.chdir(request["folder"])
        _redirect(request)
        # Not above the hard limit: an outer limit of the machine stays.
        resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sys.argv = ["recbole-microlens", *request["argv"]]
        if request["faults"]:
            from robustness import faults

            faults.install(request["faults"])
        from recbole_microlens.cli import main

        code = main(request["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(int(code or 0) & 0xFF)


def _redirect(request: dict) -> None:
    """Streams of the fork's own, as a terminal's or a pipe's would be: UTF-8, unbuffered errors."""
    for number, name in ((1, "out"), (2, "err")):
        descriptor = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115


if __name__ == "__main__":
    _serve()
