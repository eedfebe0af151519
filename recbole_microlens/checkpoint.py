"""Checkpoints of plain data: written whole or not at all, read without unpickling objects."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from recbole_microlens.errors import MicroLensError, first_line

_KIND = "__kind__"


def save(state: dict, path: Path) -> None:
    """Write a state under a temporary name and rename it, so that a file under ``path`` is always whole."""
    partial = path.with_name(path.name + ".partial")
    torch.save(to_plain(state), partial)
    os.replace(partial, path)


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read what :func:`save` wrote, with ``weights_only=True``.

    Raises
    ------
    MicroLensError
        There is no such file, or it is not a checkpoint of plain data.
    """
    if not path.is_file():
        raise MicroLensError(f"There is no checkpoint {path}. Give the folder of a run that has one.")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise MicroLensError(
            f"{path} is damaged or not a checkpoint of this package ({first_line(error)})."
        ) from error
    return from_plain(state)


def to_plain(value: Any) -> Any:
    """Turn NumPy and SciPy values, which ``weights_only`` refuses, into tensors and numbers with a mark."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {_KIND: "ndarray", "array": torch.from_numpy(np.ascontiguousarray(value))}
    if sparse.issparse(value):
        matrix = value.tocoo()
        parts = {name: torch.from_numpy(getattr(matrix, name).copy()) for name in ("row", "col", "data")}
        return {_KIND: "sparse", "format": value.format, "shape": list(value.shape), **parts}
    return value


def from_plain(value: Any) -> Any:
    """The inverse of :func:`to_plain`."""
    if isinstance(value, list | tuple):
        return type(value)(from_plain(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.get(_KIND) == "ndarray":
        return value["array"].cpu().numpy()
    if value.get(_KIND) == "sparse":
        row, col, data = (value[name].cpu().numpy() for name in ("row", "col", "data"))
        return sparse.coo_matrix((data, (row, col)), shape=value["shape"]).asformat(value["format"])
    return type(value)((key, from_plain(item)) for key, item in value.items())


def random_states(loaders: list[torch.Generator]) -> dict:
    """States of every source of chance: torch, CUDA, NumPy, Python, and the loaders' shuffling."""
    algorithm, keys, position, has_gauss, gauss = np.random.get_state()
    version, numbers, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],  # of this process's GPU
        "numpy": [algorithm, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss],
        "python": [version, list(numbers), gauss_next],
        "loaders": [generator.get_state() for generator in loaders],
    }


def set_random_states(states: dict, loaders: list[torch.Generator]) -> None:
    """Go back to what :func:`random_states` returned."""
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
    return [loader.generator for loader in (inner if any(inner) else [train_data])]
