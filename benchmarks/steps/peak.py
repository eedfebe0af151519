"""The memory that a step takes from the system, in a process of its own."""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import torch
from steps.measure import timed

from recbole_microlens.cpu.process_memory import give_back_freed


def peak_growth(build: Callable[..., Callable], *arguments, device: str) -> int | None:
    """By how many bytes a process grows at most in two steps; the first makes the states of the optimiser.

    What libraries take at their first call does not count: the process takes two steps, lets go of them, and
    begins anew. ``None`` where the system does not tell it.

    Parameters
    ----------
    build : of a module's top level, returns a step.
    arguments : what ``build`` is called with; pickled.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_growth, build, arguments, torch.device(device)).result()


def _growth(build: Callable[..., Callable], arguments: tuple, device: torch.device) -> int | None:
    growth = None
    for _ in range(2):
        step = build(*arguments)
        gc.collect()
        give_back_freed()
        before = 0 if device.type == "cuda" else psutil.Process().memory_info().rss
        peaks = [timed(step, device)["peak_memory_bytes"] for _ in range(2)]
        growth = None if None in peaks else max(peaks) - before
        del step
    return growth
