"""What an index is given, in the form it works with, or an error in words."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from recbole_microlens.errors import MicroLensError, did_you_mean

_LONGEST = 1e18  # the product of two such vectors is a number of float32


def checked_vectors(
    vectors: np.ndarray | Tensor, what: str, dim: int | None = None, empty: bool = False
) -> np.ndarray:
    """Vectors [n, d] as a contiguous array of float32.

    Parameters
    ----------
    what : str
        What they are, for the message.
    dim : int, optional
        The d that they must have.
    empty : bool, default False
        Whether there may be none.

    Raises
    ------
    MicroLensError
        Not a matrix of numbers, of another width, without rows, or with a row that is not finite or longer
        than 1e18.
    """
    if isinstance(vectors, Tensor):
        vectors = vectors.detach().to("cpu").float().numpy()
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise MicroLensError(
            f"An index takes a matrix of numbers; {what} are of type {array.dtype} and shape "
            f"{list(array.shape)}. Give [rows, width]."
        )
    if dim is not None and array.shape[1] != dim:
        raise MicroLensError(
            f"The index has vectors of width {dim}, {what} are of width {array.shape[1]}. Give those of "
            "the same model."
        )
    if not array.shape[1] or not (len(array) or empty):
        raise MicroLensError(
            f"There are no numbers in {what}, of shape {list(array.shape)}. Give at least one."
        )
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    _require_finite(array, what)
    return array


def _require_finite(array: np.ndarray, what: str) -> None:
    for begin in range(0, len(array), 1 << 16):
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(array[begin : begin + (1 << 16)], axis=1)
        wrong = np.flatnonzero(~(lengths <= _LONGEST))
        if len(wrong):
            raise MicroLensError(
                f"Row {begin + wrong[0]} of {what} is not finite, or longer than {_LONGEST:.0e}. Check the "
                "model that it comes from."
            )


def checked_k(k: int) -> int:
    """A number of items that is asked for.

    Raises
    ------
    MicroLensError
        Not a whole number, or below 1.
    """
    try:
        number = operator.index(k)
    except TypeError:
        number = 0
    if number < 1 or isinstance(k, bool):
        raise MicroLensError(f"k is {k!r}. Ask for a whole number of items, at least 1.")
    return number


def checked_excluded(excluded: Sequence[np.ndarray] | None, queries: int, known: int) -> list[np.ndarray]:
    """The excluded rows of each query, int64.

    Raises
    ------
    MicroLensError
        Not a list for each query, or a row that the index does not have.
    """
    if excluded is None:
        return [np.empty(0, np.int64)] * queries
    if len(excluded) != queries:
        raise MicroLensError(
            f"There are {queries} queries and excluded rows of {len(excluded)}. Give an array for each, "
            "which may be empty."
        )
    return [_checked_rows(rows, number, known) for number, rows in enumerate(excluded)]


def _checked_rows(rows: np.ndarray, number: int, known: int) -> np.ndarray:
    array = np.asarray(rows.cpu() if isinstance(rows, Tensor) else rows)
    if not array.size:
        return np.empty(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise MicroLensError(
            f"The excluded rows of query {number} are of type {array.dtype} and shape {list(array.shape)}. "
            "Give row numbers, [rows]."
        )
    wrong = array[(array < 0) | (array >= known)]
    if len(wrong):
        raise MicroLensError(
            f"Query {number} excludes row {wrong[0]}; the index has rows 0 to {known - 1}. Give one of these."
        )
    return array.astype(np.int64)


def checked_build(kind: str, kinds: Sequence[str], min_recall: float, threads: int | None) -> None:
    """Raise a :class:`MicroLensError` for an unknown kind, a recall not in 0 to 1, or fewer than 1 thread."""
    if kind not in kinds:
        raise MicroLensError(
            f"There is no index of kind {kind!r}.{did_you_mean(str(kind), kinds)} Choose one of "
            f"{', '.join(kinds)}."
        )
    if not 0 <= min_recall <= 1:
        raise MicroLensError(f"min_recall is {min_recall!r}. Give a share of the items, 0 to 1.")
    if threads is not None and threads < 1:
        raise MicroLensError(f"threads is {threads!r}. Give at least 1, or None.")
