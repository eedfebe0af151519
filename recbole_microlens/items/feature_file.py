"""Files of item features, ``<name>.npy`` with ``<name>.json`` beside it: written whole, read by original id.

A file that ``recbole-microlens extract`` wrote names the item of each row in its ``.json``. A file without
one of ours is taken as the MicroLens authors publish them: row r belongs to item r + 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, explained
from recbole_microlens.items.written_rows import FORMAT, written_rows

_START = '{"format": "recbole-microlens features'
_CHECKED_NUMBERS = 1 << 22


@dataclass(frozen=True)
class FeatureFile:
    """Features of items on disk.

    Attributes
    ----------
    path : Path
        The ``.npy`` file.
    rows : np.ndarray
        [rows, dim] of a float type, memory-mapped.
    item_ids : list[str], or None
        Original item id of each row; ``None``: row r belongs to item r + 1.
    """

    path: Path
    rows: np.ndarray
    item_ids: list[str] | None

    @property
    def dim(self) -> int:
        return self.rows.shape[-1]

    def rows_of(self, tokens: np.ndarray) -> np.ndarray:
        """Row of each original item id, [n] int64; -1 where the file has none.

        Raises
        ------
        MicroLensError
            The file has no ``.json`` of ours, and an id is not a whole number from 1 on, or is above the
            number of rows.
        """
        if self.item_ids is not None:
            row_of = {item: row for row, item in enumerate(self.item_ids)}
            return np.array([row_of.get(str(token), -1) for token in tokens], dtype=np.int64)
        found = [_number(str(token)) for token in tokens]
        numbers = [number for number in found if number is not None]
        if len(numbers) < len(found):
            raise MicroLensError(
                f"features: {self.path} has no {_twin(self.path).name} that names the item of each row, so "
                f"row r is item r + 1; but item {str(tokens[found.index(None)])!r} is not a whole number "
                "from 1 on. Make the file with `recbole-microlens extract`, which writes both."
            )
        if max(numbers, default=0) > len(self.rows):
            item = str(tokens[numbers.index(max(numbers))])
            raise MicroLensError(
                f"features: {self.path} has {len(self.rows)} rows, for the items 1 to {len(self.rows)}; the "
                f"dataset has item {item}. Use the features of this dataset."
            )
        return np.array(numbers, dtype=np.int64) - 1

    def require_finite(self, rows: np.ndarray) -> None:
        """Raise a :class:`MicroLensError` that names the first of these rows with a NaN or an infinity."""
        at_once = max(_CHECKED_NUMBERS // self.rows[0].size, 1)
        starts = range(0, len(rows), at_once)
        for start in tqdm(starts, desc="check features", delay=3, disable=None):
            chunk = rows[start : start + at_once]
            with np.errstate(
                over="ignore"
            ):  # what float32 cannot hold becomes an infinity here as it does later
                read = np.asarray(self.rows[chunk], dtype=np.float32).reshape(len(chunk), -1)
            bad = np.flatnonzero(~np.isfinite(read).all(axis=1))
            if len(bad):
                row = int(chunk[bad[0]])
                item = self.item_ids[row] if self.item_ids is not None else row + 1
                raise MicroLensError(
                    f"features: row {row} of {self.path} (item {item}) holds NaN or an infinity. Make the "
                    "file again, or leave that item out of it."
                )


def open_features(path: str | Path) -> FeatureFile:
    """Open a ``.npy`` file of features without reading its rows.

    Raises
    ------
    MicroLensError
        There is no such file; it is not an array [items, dim] of floats; or its ``.json`` does not belong to
        it.
    """
    path = Path(path)
    if not path.is_file():
        raise MicroLensError(
            f"features: there is no file {path}. Make it with: recbole-microlens extract "
            f"--dataset DATASET --encoder ENCODER --out {path}"
        )
    rows = mapped(path)
    if isinstance(rows, np.ndarray) and rows.ndim == 3:
        raise MicroLensError(
            f"features: {path} holds tokens, {list(rows.shape)}: a vector for each token of an item, which "
            "the models that begin with ODMT read. Extract the features without --tokens."
        )
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind != "f" or 0 in rows.shape:
        raise MicroLensError(
            f"features: {path} holds {getattr(rows, 'dtype', 'several arrays')} of shape "
            f"{list(getattr(rows, 'shape', []))}; expected floats [items, dim], one row for each item."
        )
    return FeatureFile(path, rows, item_ids_of(path, rows))


def mapped(path: Path) -> np.ndarray:
    """What a ``.npy`` file holds, memory-mapped; raises a :class:`MicroLensError` where it is none."""
    with explained(
        f"features: {path} is not a .npy file of plain numbers",
        "Save a float32 array [items, dim] with numpy.save.",
    ):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def written_features(
    path: Path, item_ids: list[str], dim: int, about: dict
) -> AbstractContextManager[Callable[..., None]]:
    """Give a function that appends rows [n, dim]; see
    :func:`~recbole_microlens.items.written_rows.written_rows`.
    """
    return written_rows({path: ("<f4", (dim,))}, item_ids, about)


def _twin(path: Path) -> Path:
    return path.with_suffix(".json")


def item_ids_of(path: Path, rows: np.ndarray) -> list[str] | None:
    """The ids in the ``.json`` of a file, if it is one of ours; ``None`` else: the published ones, item id ->
    vector, are large and are not read. Raises a :class:`MicroLensError` where it does not belong to the rows.
    """
    twin = _twin(path)
    if not twin.is_file():
        return None
    with twin.open(encoding="utf-8", errors="replace") as file:
        if file.read(len(_START)) != _START:
            return None
    try:
        about = json.loads(twin.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise MicroLensError(f"features: {twin} is damaged ({error}). Extract the features again.") from error
    item_ids = about.get("item_ids")
    is_list = isinstance(item_ids, list) and all(isinstance(item, str) for item in item_ids)
    if about["format"] != FORMAT or not is_list or len(item_ids) != len(rows):
        raise MicroLensError(
            f"features: {twin} is of another format, or does not belong to its {len(rows)} rows. "
            "Extract the features again."
        )
    if len(set(item_ids)) < len(item_ids):
        twice = next(item for place, item in enumerate(item_ids) if item in item_ids[:place])
        raise MicroLensError(f"features: {twin} names item {twice!r} twice. Extract the features again.")
    return item_ids


def _number(token: str) -> int | None:
    """The whole number from 1 on that a token is; of more than 18 digits one that has so many."""
    return int(token[:19]) if token.isascii() and token.isdecimal() and token[0] != "0" else None
