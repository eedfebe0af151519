"""A graph of items and their neighbours, with faiss."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_microlens.export.index.rows import VectorRows
from recbole_microlens.export.index.with_faiss import blocks, import_faiss, steps


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

    def fill(self, rows: VectorRows, bar: tqdm) -> None:
        """Add all rows."""
        for block in blocks(rows, bar):
            self.add(block)

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
        return steps(16, 1024)
