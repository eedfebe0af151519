"""Checkpoints of plain data: written whole or not at all, read without unpickling objects."""

from __future__ import annotations

import os
import pickle
import random
import zipfile
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

from recbole_microlens import files
from recbole_microlens.errors import MicroLensError, first_line

_KIND = "__kind__"


# What every checkpoint of a run holds; see `trainer.ResumableTrainer`.
_KEYS = {"model": str, "epoch": int, "state_dict": dict, "other_parameter": dict}


def save(state: dict, path: Path) -> None:
    """Write a state, so that a file under ``path`` is always whole; an old one stays until then.

    The file is a zip archive, whose directory holds a checksum of each part: :func:`load` looks at them.

    Raises
    ------
    MicroLensError
        It cannot be written: says why, and that what was there is there.
    """
    try:
        with files.written_whole(path, "wb") as file:
            _write(to_plain(state), file)
    except OSError as error:
        kept = f" The {path.name} before it is kept." if path.is_file() else ""
        raise MicroLensError(f"{files.in_words(error)}{kept}") from error


def save_keeping(state: dict, path: Path, before: Path) -> None:
    """As :func:`save`; the checkpoint that is there goes to ``before`` once the new one is written."""
    arriving = path.with_name(path.name + ".new")
    save(state, arriving)
    if path.is_file():
        os.replace(path, before)
    os.replace(arriving, path)


def _write(state: Any, file) -> None:
    """``torch.save``, which hides what the system says against a write behind a failure of its own."""
    watched = _Watched(file)
    try:
        torch.save(state, watched)
    except RuntimeError as error:
        raise watched.error or error from error


class _Watched:
    """A file that remembers what its writing failed of."""

    def __init__(self, file):
        self._file = file
        self.error: OSError | None = None

    def write(self, content) -> int:
        try:
            return self._file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def load(path: Path, device: torch.device | str = "cpu") -> dict:
    """Read what :func:`save` wrote: plain data, all of whose checksums hold.

    Raises
    ------
    MicroLensError
        There is no such file, it is not whole, a byte of it has changed, or it is no checkpoint of a run.
    """
    if not path.is_file():
        kind = "is a folder, not a checkpoint" if path.is_dir() else "is not there"
        raise MicroLensError(f"{path} {kind}. Give the folder of a run that has a {path.name}.")
    _require_whole(path)
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError) as error:
        raise MicroLensError(f"{path} is no checkpoint of plain data ({first_line(error)}).") from error
    _require_keys(state, path)
    return from_plain(state)


def load_last(path: Path, before: Path, device: torch.device | str = "cpu") -> dict:
    """The checkpoint at ``path``; where that is damaged or gone the one before it, with a warning.

    Raises
    ------
    MicroLensError
        Neither can be read; says what is wrong with each.
    """
    try:
        return load(path, device)
    except MicroLensError as error:
        if not before.is_file():
            raise
        try:
            state = load(before, device)
        except MicroLensError as second:
            raise MicroLensError(f"{error} {second} Start a new run.") from second
        getLogger().warning(f"{error} Going on from the one before it, {before.name}.")
        return state


def _require_whole(path: Path) -> None:
    """Compare the checksum of every part with the archive's directory; torch does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            is_packed = any(part.compress_type != zipfile.ZIP_STORED for part in parts)
            damaged = None if is_packed else archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise MicroLensError(f"{path} is damaged or no checkpoint ({first_line(error)}).") from error
    if is_packed:
        raise MicroLensError(f"{path} is a packed archive, not a checkpoint of this package.")
    if damaged is not None:
        raise MicroLensError(f"{path} is damaged: the checksum of {damaged} in it does not hold.")


def _require_keys(state: Any, path: Path) -> None:
    if not isinstance(state, dict):
        raise MicroLensError(f"{path} is no checkpoint of a run: it holds a {type(state).__name__}.")
    faults = [
        f"{key} is {'missing' if key not in state else f'a {type(state[key]).__name__}'}"
        for key, kind in _KEYS.items()
        if not isinstance(state.get(key), kind)
    ]
    if faults:
        raise MicroLensError(f"{path} is no checkpoint of a run: {', '.join(faults)}.")


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
