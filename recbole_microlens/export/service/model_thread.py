"""One thread, in which alone the model is asked: two would mix up what it computes with."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")

PATIENCE = 0.5
"""Seconds by which a part of a long answer lets others go before it: those who come later than that wait."""


def _nothing() -> None: ...


def _end() -> None:
    """The last job of a thread."""


class ModelThread:
    """Runs what is to be computed, the most urgent first.

    A long answer is computed in parts, each in its turn, so that short ones do not wait for all of it; by
    :data:`PATIENCE` neither do the parts wait for ever.

    Parameters
    ----------
    prepare : Callable[[], None]
        Called first in the thread.
    """

    def __init__(self, prepare: Callable[[], None] = _nothing) -> None:
        self._jobs: queue.PriorityQueue[tuple[float, int, Future, Callable[[], Any]]] = queue.PriorityQueue()
        self._number = itertools.count()
        self._prepare = prepare
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Begin; what was asked for before is done now."""
        self._thread.start()

    async def do(self, work: Callable[[], Result], patience: float = 0.0) -> Result:
        """Run ``work`` in the thread; whoever no longer waits for it spares it."""
        future: Future[Result] = Future()
        self._jobs.put((time.monotonic() + patience, next(self._number), future, work))
        return await asyncio.wrap_future(future)

    async def do_parts(self, parts: Iterator[Result]) -> list[Result]:
        """All that ``parts`` gives, each part in its turn."""
        found: list[Result] = []
        while await self.do(lambda: _took(parts, found), PATIENCE):
            pass
        return found

    def stop(self) -> None:
        """End the thread after what is waiting."""
        self._jobs.put((float("inf"), next(self._number), Future(), _end))
        self._thread.join(timeout=5.0)

    def _work(self) -> None:
        self._prepare()
        while True:
            _, _, future, work = self._jobs.get()
            if work is _end:
                return
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except Exception as error:
                    future.set_exception(error)
            del future, work  # or what they hold stays until the next job


def _took(parts: Iterator[Result], found: list[Result]) -> bool:
    with suppress(StopIteration):
        found.append(next(parts))
        return True
    return False
