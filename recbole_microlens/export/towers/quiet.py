"""Keeps what other libraries say from the screen, until something is wrong."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from tempfile import TemporaryFile

_MOST_SAID = 100_000


@contextmanager
def quiet() -> Iterator[Callable[[], str]]:
    """Nothing that is printed, warned of or logged in the block reaches the screen; what is yielded gives it.

    Some of it is printed by C++, so that the descriptors themselves are turned away.
    """
    before = logging.root.manager.disable
    with ExitStack() as stack:
        file = stack.enter_context(TemporaryFile("w+", encoding="utf-8", errors="replace"))
        logging.disable(max(before, logging.WARNING))
        stack.callback(logging.disable, before)
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for descriptor in (1, 2):
            stack.enter_context(_turned(descriptor, file.fileno()))
        stack.enter_context(redirect_stdout(file))
        stack.enter_context(redirect_stderr(file))

        def said() -> str:
            file.seek(0)
            return file.read(_MOST_SAID)

        yield said


@contextmanager
def _turned(descriptor: int, elsewhere: int) -> Iterator[None]:
    try:
        kept = os.dup(descriptor)
    except OSError:  # it is closed
        yield
        return
    os.dup2(elsewhere, descriptor)
    try:
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
