"""How long a step takes, how much memory, and how busy the GPU is meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter

import torch
from gpu_checks.place import Place
from torch.utils.flop_counter import FlopCounterMode

_WARM_UP = 2
_PROBED_EVERY = 0.05  # seconds


class Utilisation:
    """Samples how busy the GPU is while the block runs, as its driver says.

    Attributes
    ----------
    mean : per cent; ``None`` where nobody can say.
    """

    def __init__(self, place: Place):
        self.mean: float | None = None
        self._samples: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True) if place.is_cuda else None

    def __enter__(self) -> Utilisation:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        if self._thread:
            self._thread.join()
        if self._samples:
            self.mean = sum(self._samples) / len(self._samples)

    def _sample(self) -> None:
        try:
            while not self._over.wait(_PROBED_EVERY):
                self._samples.append(torch.cuda.utilization())
        except Exception:  # whatever the driver's library raises where it cannot say: no figure then
            return


def timed(place: Place, step: Callable[[], object], items: int, seconds: float) -> dict:
    """Time a step, called again and again without waiting in between, as in training; twice, one by one.

    Parameters
    ----------
    items : that a step encodes.
    seconds : about how long to measure.

    Returns
    -------
    ``s`` of a step (the faster round), ``spread`` of the two rounds, ``items_per_s``, ``peak_gb``, ``busy``
    in per cent, ``tflops`` a second; those that only a GPU has are left out on a CPU.
    """
    if place.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(_WARM_UP - 1):
        step()
    with FlopCounterMode(display=False) as counter:
        step()
    one = _seconds(place, step, 1)
    count = max(1, min(round(seconds / 2 / one), 50))
    with Utilisation(place) as utilisation:
        rounds = [_seconds(place, step, count) / count for _ in range(2)]
    best = min(rounds)
    found = {"s": best, "spread": max(rounds) / best - 1, "items_per_s": items / best}
    found["tflops"] = counter.get_total_flops() / best / 1e12
    if place.is_cuda:
        found |= {"peak_gb": torch.cuda.max_memory_allocated() / 1e9, "busy": utilisation.mean}
    return found


def _seconds(place: Place, step: Callable[[], object], count: int) -> float:
    place.synchronise()
    start = perf_counter()
    for _ in range(count):
        step()
    place.synchronise()
    return perf_counter() - start
