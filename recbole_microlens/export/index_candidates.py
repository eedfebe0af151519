"""Likely answers to a query by faiss: items in lists by direction (``ivf``), or in a graph (``hnsw``).

Both hold a bf16 copy of the vectors, whose range no new item can leave, and give rows alone; scores are for
the caller to compute from the vectors themselves. How vectors of unequal length are treated is chosen by
measurement, see ``docs/index_search.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging import WARNING, getLogger
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.index_rows import VectorRows

_BLOCK = 1 << 15  # rows handed to faiss at once
_LEAST = 1e-15  # stands for the length of a list without items, whose direction is to be kept


def import_faiss() -> ModuleType:
    """faiss, or a :class:`MicroLensError` that says how to install it."""
    if "faiss" not in sys.modules:  # at the level of information it says what it did not look for
        getLogger("faiss.loader").setLevel(WARNING)
    try:
        import faiss
    except ImportError as error:
        raise MicroLensError(
            "An index of kind hnsw or ivf needs faiss, which is not installed. Run: "
            "pip install 'recbole-microlens[ann]'"
        ) from error
    return faiss


class Lists:
    """Inverted lists of items of like direction; those are read whose direction and longest vector promise
    the largest products.

    A list's centroid in faiss is its direction, as long as its longest vector.
    """

    kind = "ivf"

    def __init__(self, index: Any):
        faiss = import_faiss()
        self.index = index
        quantizer = faiss.downcast_index(index.quantizer)
        count, dim = index.nlist, index.d
        self._centroids = faiss.rev_swig_ptr(quantizer.get_xb(), count * dim).reshape(count, dim)

    @classmethod
    def empty(cls, rows: VectorRows, seed: int) -> Lists:
        """Without items, with directions from a sample of rows."""
        faiss = import_faiss()
        count = max(min(int(4 * len(rows) ** 0.5), len(rows) // 32), 1)
        generator = np.random.default_rng(seed)
        sample = np.sort(generator.choice(len(rows), min(len(rows), 32 * count), replace=False))
        means = faiss.Kmeans(
            rows.dim,
            count,
            niter=10,
            seed=int(generator.integers(2**31)),
            spherical=True,
            min_points_per_centroid=1,
        )
        means.train(_unit(rows.take(sample)))
        quantizer = faiss.IndexFlatIP(rows.dim)
        quantizer.add(_unit(means.centroids) * np.float32(_LEAST))
        codes = faiss.ScalarQuantizer.QT_bf16
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, rows.dim, count, codes, faiss.METRIC_INNER_PRODUCT, False
        )
        index.is_trained = True  # there is nothing to learn for bf16
        return cls(index)

    def add(self, vectors: np.ndarray) -> None:
        """Put vectors [a, d] into the lists of their directions."""
        faiss = import_faiss()
        # From what the file of an index keeps: after loading it, the same vectors go into the same lists.
        directions = _unit(self._centroids)
        lists = faiss.knn(vectors, directions, 1, metric=faiss.METRIC_INNER_PRODUCT)[1][:, 0]
        longest = np.linalg.norm(self._centroids, axis=1)
        raised = longest.copy()
        np.maximum.at(raised, lists, np.linalg.norm(vectors, axis=1))
        changed = raised > longest
        self._centroids[changed] = directions[changed] * raised[changed, None]
        self.index.add_core(len(vectors), faiss.swig_ptr(vectors), None, faiss.swig_ptr(lists))

    def candidates(self, queries: np.ndarray, count: int, effort: int) -> np.ndarray:
        """Rows [B, count], -1 where there is none, from ``effort`` lists."""
        options = import_faiss().SearchParametersIVF(nprobe=min(effort, self.index.nlist))
        return self.index.search(queries, count, params=options)[1]

    def efforts(self) -> list[int]:
        """Numbers of lists to try, up to half of them."""
        return _steps(1, max(self.index.nlist // 2, min(self.index.nlist, 16)))


class Graph:
    """A graph of items and their neighbours by inner product (HNSW)."""

    kind = "hnsw"

    def __init__(self, index: Any):
        self.index = index

    @classmethod
    def empty(cls, rows: VectorRows, seed: int) -> Graph:
        """Without items."""
        faiss = import_faiss()
        codes = faiss.ScalarQuantizer.QT_bf16
        index = faiss.IndexHNSWSQ(rows.dim, codes, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 100
        index.is_trained = faiss.downcast_index(index.storage).is_trained = True
        return cls(index)

    def add(self, vectors: np.ndarray) -> None:
        """Connect vectors [a, d] with what is there, and with each other."""
        # The file of an index does not keep the state of its generator.
        self.index.hnsw.rng = import_faiss().RandomGenerator(self.index.ntotal)
        self.index.add(vectors)

    def candidates(self, queries: np.ndarray, count: int, effort: int) -> np.ndarray:
        """Rows [B, count], -1 where there is none, the best of ``effort`` that are kept on the way."""
        options = import_faiss().SearchParametersHNSW(efSearch=max(effort, count))
        return self.index.search(queries, count, params=options)[1]

    def efforts(self) -> list[int]:
        """Numbers of items to keep on the way."""
        return _steps(16, 1024)


CANDIDATES: dict[str, type[Lists | Graph]] = {each.kind: each for each in (Lists, Graph)}


def built(kind: str, rows: VectorRows, seed: int, progress: bool, threads: int | None) -> Lists | Graph:
    """Candidates of all rows; the same each time for the same rows and seed, where ``threads`` is left out.

    Parameters
    ----------
    threads : int, optional
        By default as many as give the same each time.
    """
    with _threads(threads or _repeatable(kind)):
        made = CANDIDATES[kind].empty(rows, seed)
        bar = tqdm(total=len(rows), desc=f"index ({kind})", unit="item", disable=None if progress else True)
        with bar:
            for _, block in rows.blocks(_BLOCK):
                made.add(np.ascontiguousarray(block))
                bar.update(len(block))
    return made


def extend(candidates: Lists | Graph, vectors: np.ndarray) -> None:
    """Add vectors [a, d], in the same way each time."""
    with _threads(_repeatable(candidates.kind)):
        for begin in range(0, len(vectors), _BLOCK):
            candidates.add(vectors[begin : begin + _BLOCK])


def write(candidates: Lists | Graph, path: Path) -> None:
    """Write faiss's own file."""
    import_faiss().write_index(candidates.index, str(path))


def read(kind: str, path: Path) -> Lists | Graph:
    """Read faiss's own file, which must be one of this kind.

    Raises
    ------
    ValueError
        It is of another kind.
    RuntimeError
        faiss cannot read it.
    """
    faiss = import_faiss()
    index = faiss.read_index(str(path))
    expected = {Lists.kind: faiss.IndexIVFScalarQuantizer, Graph.kind: faiss.IndexHNSWSQ}[kind]
    if not isinstance(index, expected) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError(f"it holds a {type(index).__name__}")
    return CANDIDATES[kind](index)


def _repeatable(kind: str) -> int | None:
    """How many threads make the same index each time; None: all cores."""
    faiss = import_faiss()
    in_order = kind != Graph.kind or hasattr(faiss.HNSW, "compute_forward_links_deterministic")  # 1.15
    return None if in_order else 1


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def _steps(first: int, last: int) -> list[int]:
    """From ``first`` up, each about half as large again as the one before, and ``last``."""
    steps = [first]
    while steps[-1] < last:
        steps.append(min(max(steps[-1] * 3 // 2, steps[-1] + 1), last))
    return steps


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
