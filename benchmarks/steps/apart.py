"""Steps in a process of their own, so that what one program does to its process does not help the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection

import torch
from steps.measure import timed


class Apart:
    """A process that builds steps, and takes one of them whenever it is asked to; ended by :meth:`close`.

    Parameters
    ----------
    build : of a module's top level, returns steps by name.
    arguments : what ``build`` is called with; pickled.
    """

    def __init__(self, build: Callable[..., dict[str, Callable]], *arguments, device: str):
        context = get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, build, arguments, torch.device(device)), daemon=True
        )
        self._process.start()
        other.close()
        self.names: list[str] = self._pipe.recv()

    def steps(self) -> dict[str, Callable[[], dict]]:
        return {name: partial(self._ask, name) for name in self.names}

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _ask(self, name: str) -> dict:
        self._pipe.send(name)
        return self._pipe.recv()


def _serve(pipe: Connection, build: Callable, arguments: tuple, device: torch.device) -> None:
    steps = build(*arguments)
    pipe.send(list(steps))
    while True:
        try:
            name = pipe.recv()
        except EOFError:
            return
        pipe.send(timed(steps[name], device))
