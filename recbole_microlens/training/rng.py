"""Every random number generator of a run: its states as plain data, and back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def current(loaders: list[torch.Generator]) -> dict:
    """States of every generator: torch, CUDA, NumPy, Python, and the loaders' shuffling."""
    of_numpy: Any = np.random.get_state()
    algorithm, keys, position, has_gauss, gauss = of_numpy
    version, numbers, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],  # of this process's GPU
        "numpy": [algorithm, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(numbers), gauss_next],
        "loaders": [generator.get_state() for generator in loaders],
    }


def restore(states: dict, loaders: list[torch.Generator]) -> None:
    """Go back to what :func:`current` returned."""
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"][0].cpu())
    algorithm, keys, *rest = states["numpy"]
    np.random.set_state((algorithm, keys.cpu().numpy().astype(np.uint32), *rest))
    version, numbers, gauss_next = states["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    for generator, state in zip(loaders, states["loaders"], strict=True):
        generator.set_state(state.cpu())


def generators_of(train_data) -> list[torch.Generator]:
    """The generators that shuffle: of a loader, or of the two inside RecBole's knowledge-based loader."""
    inner = [getattr(train_data, name, None) for name in ("general_dataloader", "kg_dataloader")]
    return [loader.generator for loader in inner if loader is not None] or [train_data.generator]
