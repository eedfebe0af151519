"""Inverted lists of items of like direction, with faiss."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_microlens.export.index.rows import VectorRows
from recbole_microlens.export.index.with_faiss import blocks, import_faiss, steps

_LEAST = 1e-15  # stands for the length of a list without items, whose direction is to be kept


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

    def fill(self, rows: VectorRows, bar: tqdm) -> None:
        """Add all rows, to lists that are made as long as they need to be: lists that grow take half as much
        again."""
        directions = _unit(self._centroids)
        lists = [self._nearest(block, directions) for block in blocks(rows, bar)]
        counts = np.bincount(np.concatenate(lists), minlength=self.index.nlist)
        for number, count in enumerate(counts.tolist()):
            self.index.invlists.resize(number, count)
            self.index.invlists.resize(number, 0)
        for block, chosen in zip(blocks(rows), lists, strict=True):
            self._put(block, chosen, directions)

    def add(self, vectors: np.ndarray) -> None:
        """Put vectors [a, d] into the lists of their directions."""
        # From what the file of an index keeps: after loading it, the same vectors go into the same lists.
        directions = _unit(self._centroids)
        self._put(vectors, self._nearest(vectors, directions), directions)

    def _nearest(self, vectors: np.ndarray, directions: np.ndarray) -> np.ndarray:
        faiss = import_faiss()
        return faiss.knn(vectors, directions, 1, metric=faiss.METRIC_INNER_PRODUCT)[1][:, 0]

    def _put(self, vectors: np.ndarray, lists: np.ndarray, directions: np.ndarray) -> None:
        faiss = import_faiss()
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
        return steps(1, max(self.index.nlist // 2, min(self.index.nlist, 16)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)
