"""Files of token features: a vector for each token of an item, beside them which tokens are real.

``<name>.npy`` is float16 [items, tokens, dim], ``<name>.mask.npy`` bool [items, tokens], ``<name>.json``
names the item of each row. Without a mask every token is real; without a ``.json`` row r is item r + 1.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import FeatureFile, item_ids_of, mapped
from recbole_microlens.items.written_rows import written_rows


@dataclass(frozen=True)
class TokenFile(FeatureFile):
    """Token features of items on disk.

    Attributes
    ----------
    path, item_ids : Path, list[str] or None
        As those of :class:`~recbole_microlens.items.feature_file.FeatureFile`.
    rows : np.ndarray
        [rows, tokens, dim] of a float type, memory-mapped.
    real : np.ndarray, or None
        [rows, tokens] bool, memory-mapped; ``None``: every token is real.
    """

    real: np.ndarray | None

    def first_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """The first token of each original item id, float32 [n, dim]; zeros where there is no such row."""
        row = self.rows_of(tokens)
        first = np.zeros((len(row), self.dim), dtype=np.float32)
        first[row >= 0] = self.rows[row[row >= 0], 0]
        return first


def open_tokens(path: str | Path) -> TokenFile:
    """Open a ``.npy`` file of token features without reading its rows.

    Raises
    ------
    MicroLensError
        There is no such file; it is not an array [items, tokens, dim] of floats; or its mask or its ``.json``
        does not belong to it.
    """
    path = Path(path)
    if not path.is_file():
        raise MicroLensError(
            f"features: there is no file {path}. Make it with: recbole-microlens extract --tokens "
            f"--dataset DATASET --encoder ENCODER --out {path}"
        )
    rows = mapped(path)
    if not isinstance(rows, np.ndarray) or rows.ndim != 3 or rows.dtype.kind != "f" or 0 in rows.shape:
        raise MicroLensError(
            f"features: {path} holds {getattr(rows, 'dtype', 'several arrays')} of shape "
            f"{list(getattr(rows, 'shape', []))}; expected floats [items, tokens, dim], a vector for each "
            "token of an item. Extract the features with --tokens."
        )
    return TokenFile(path, rows, item_ids_of(path, rows), _real_tokens(path, rows))


def written_tokens(
    path: Path, item_ids: list[str], shape: tuple[int, int], about: dict
) -> AbstractContextManager[Callable[..., None]]:
    """Give a function that appends which tokens are real [n, tokens], and the tokens [n, tokens, dim]; see
    :func:`~recbole_microlens.items.written_rows.written_rows`.

    Parameters
    ----------
    shape : tuple[int, int]
        Tokens of an item, and dim.
    """
    arrays = {mask_path(path): ("|b1", shape[:1]), path: ("<f2", shape)}
    return written_rows(arrays, item_ids, about | {"mask": mask_path(path).name})


def mask_path(path: Path) -> Path:
    """The file that says which tokens of another one are real."""
    return path.with_suffix(".mask.npy")


def _real_tokens(path: Path, rows: np.ndarray) -> np.ndarray | None:
    if not mask_path(path).is_file():
        if item_ids_of(path, rows) is None:
            return None
        raise MicroLensError(
            f"features: {mask_path(path)} is missing, which says which tokens of {path} are real. Extract "
            "the features again."
        )
    real = mapped(mask_path(path))
    if not isinstance(real, np.ndarray) or real.dtype.kind not in "biu" or real.shape != rows.shape[:2]:
        raise MicroLensError(
            f"features: {mask_path(path)} holds {getattr(real, 'dtype', 'several arrays')} of shape "
            f"{list(getattr(real, 'shape', []))}; expected bool {list(rows.shape[:2])}, a value for each "
            f"token of {path}. Extract the features again."
        )
    return real
