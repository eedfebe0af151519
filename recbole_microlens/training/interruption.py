"""Signals that stop a run: SIGTERM acts as Ctrl-C, SIGUSR1 (a scheduler's warning) ends with a checkpoint.

Only the command line listens to signals; a library call leaves them as they are.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Preempted(BaseException):
    """The scheduler wants the machine back; the checkpoint is on the disk."""


_RUN = "run_folder"
_asked = False
_steps_look = False
_listener = 0


@contextmanager
def listening() -> Iterator[None]:
    """Inside the block, SIGTERM raises ``KeyboardInterrupt``, and SIGUSR1 :class:`Preempted`, at once or at
    the next step of a training (see :func:`at_steps`). Signals that the caller ignores stay ignored.
    """
    global _asked, _listener
    _asked, _listener = False, os.getpid()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {"SIGTERM": _terminate, "SIGUSR1": _preempt}
    before: dict[int, Any] = {signal.SIGINT: signal.getsignal(signal.SIGINT)}
    for name, handler in handlers.items():
        number = getattr(signal, name, None)  # Windows has no SIGUSR1
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        _asked = False
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def heard() -> None:
    """Ignore further signals while the command ends: a second one would end it in a traceback."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def passed_on(send: Callable[[int], None]) -> Iterator[None]:
    """Inside the block, a SIGUSR1 is sent on to the processes that this one has started, and changes nothing
    here.
    """
    number = getattr(signal, "SIGUSR1", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, lambda *_: send(number))
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def at_steps() -> Iterator[None]:
    """Inside the block, a SIGUSR1 only sets :func:`is_asked`: the block looks at it and saves its state."""
    global _steps_look
    before, _steps_look = _steps_look, True
    try:
        yield
    finally:
        _steps_look = before


def is_asked() -> bool:
    """Whether a SIGUSR1 has come."""
    return _asked


def _terminate(*_) -> None:
    if os.getpid() != _listener:  # a child that was forked with this handler
        os._exit(128 + signal.SIGTERM)
    raise KeyboardInterrupt


def _preempt(*_) -> None:
    global _asked
    if os.getpid() != _listener:
        return
    _asked = True
    if not _steps_look:
        raise Preempted


@contextmanager
def of(run_folder: Path) -> Iterator[None]:
    """Inside the block, what stops the run carries its folder, for :func:`folder_of`."""
    try:
        yield
    except (KeyboardInterrupt, Preempted) as stop:
        setattr(stop, _RUN, run_folder)
        raise


def folder_of(stop: BaseException) -> Path | None:
    """The folder of the run that was stopped, where it was a run."""
    return getattr(stop, _RUN, None)
