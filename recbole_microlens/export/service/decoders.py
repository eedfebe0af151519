"""Processes that are kept ready to decode uploads, so that an upload does not wait for one to start."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service.decoder_process import DONE
from recbole_microlens.media.limits import TaskLimits
from recbole_microlens.media.store import StoreMeta
from recbole_microlens.media.timeline import MediaError

_START_SECONDS = 60.0
_MOST_BYTES = 1 << 30  # of an answer
_ROOT = Path(__file__).parents[3]
_MODULE = "recbole_microlens.export.service.decoder_process"


class Decoders:
    """Decodes files, each in a process that may die.

    Any number of threads may ask; who finds all processes busy waits.

    Parameters
    ----------
    count : int
        Processes.
    limits : TaskLimits
        Of one file.
    seconds : float
        Of clock time for one file.
    """

    def __init__(self, count: int, limits: TaskLimits, seconds: float):
        self._limits, self._seconds = limits, seconds
        self._free: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        for _ in range(count):
            self._free.put(_Decoder(limits))

    def decode(self, kind: str, meta: StoreMeta, path: Path) -> bytes:
        """The value of a media store for a file: ``kind`` is a key of ``media.sources.READERS``.

        Raises
        ------
        MediaError
            The file cannot be decoded within the limits; with the reason.
        """
        known = {key: value for key, value in dataclasses.asdict(meta).items() if key != "source"}
        task = json.dumps({"kind": kind, "meta": known, "path": str(path)}).encode()
        with self._one() as decoder:
            answer = decoder.ask(task, self._seconds)
        if answer[:1] != DONE:
            raise MediaError(answer[1:].decode(errors="replace"))
        return answer[1:]

    def await_ready(self) -> None:
        """Wait until all processes have started, so that no upload does.

        Raises
        ------
        MicroLensError
            One does not start.
        """
        for _ in range(self._free.qsize()):
            with self._one() as decoder:
                try:
                    decoder.await_ready()
                except (EOFError, OSError) as error:
                    raise MicroLensError("The process that decodes uploads does not start.") from error

    def close(self) -> None:
        """End the processes that are not busy; the others end with this one."""
        with suppress(queue.Empty):
            while True:
                self._free.get_nowait().stop()

    @contextmanager
    def _one(self) -> Iterator[_Decoder]:
        decoder = self._free.get()
        try:
            decoder.start()
            yield decoder
            with suppress(OSError):  # at once, if one has ended; or when the next upload comes
                decoder.start()
        finally:
            self._free.put(decoder)


class _Decoder:
    def __init__(self, limits: TaskLimits):
        self._limits = limits
        self._process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        """Start the process, or another one where it has ended."""
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", _MODULE, str(theirs.fileno())]
            command += [str(self._limits.cpu_seconds), str(self._limits.memory_bytes)]
            try:
                self._process = _started(command, theirs.fileno())
            except BaseException:
                ours.close()
                raise
        self._connection = Connection(ours.detach())
        self._is_ready = False

    def ask(self, task: bytes, seconds: float) -> bytes:
        """The answer to a task; one that begins with 1 where the process died or took too long."""
        try:
            self.await_ready()
            self._connection.send_bytes(task)
            return self._await(seconds)
        except TimeoutError:
            self.stop()
            return b"\1" + f"takes longer than {seconds:.0f} s".encode()
        except (EOFError, OSError):
            return b"\1" + self._reason_of_end().encode()

    def await_ready(self) -> None:
        if not self._is_ready:
            self._await(_START_SECONDS)
            self._is_ready = True

    def stop(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _await(self, seconds: float) -> bytes:
        if not self._connection.poll(seconds):
            raise TimeoutError
        return self._connection.recv_bytes(_MOST_BYTES)

    def _reason_of_end(self) -> str:
        """Why it closed its end of the connection; it is ending, or will not be heard of again."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if -code == signal.SIGXCPU:
            return f"takes more than {self._limits.cpu_seconds} s of processor time"
        ended_by = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"ends the process that decodes it ({ended_by})"


def _started(command: list[str], descriptor: int) -> subprocess.Popen:
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": _search_path()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[descriptor],
        start_new_session=True,  # Ctrl-C is for the service, which ends its decoders itself
    )


def _search_path() -> str:
    """This package first, however it was found."""
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
