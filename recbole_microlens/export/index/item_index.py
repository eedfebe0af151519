"""An index of item vectors for recommendation: the items with the largest inner products with a query."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.export.index import candidates as index_candidates
from recbole_microlens.export.index import folder as index_file
from recbole_microlens.export.index.candidates import Graph, Lists
from recbole_microlens.export.index.checks import checked_build, checked_excluded, checked_k, checked_vectors
from recbole_microlens.export.index.recall import RECALL_AT, drawn_queries, reach, some_of
from recbole_microlens.export.index.rows import Excluded, VectorRows, exact_top
from recbole_microlens.export.index.search import Efforts, approximate_top

KINDS = ("exact", "hnsw", "ivf")


class ItemIndex:
    """Search by inner product over item vectors [n, d].

    Any number of threads may search, load and save at once; :meth:`add` waits until the searches that run
    have ended, and those that come meanwhile wait for it.

    Attributes
    ----------
    kind : str
        ``exact``, ``hnsw`` or ``ivf``.
    dim : int
        d.
    recall : float, optional
        Share of the exact ten best items that the index found when it was built; None for ``exact``.
    """

    def __init__(
        self,
        kind: str,
        rows: VectorRows,
        candidates: Lists | Graph | None = None,
        efforts: Efforts | None = None,
        recall: float | None = None,
    ):
        self.kind, self.dim, self.recall = kind, rows.dim, recall
        self._rows, self._candidates, self._efforts = rows, candidates, efforts or []
        self._door, self._state, self._inside = threading.Lock(), threading.Condition(), 0

    def __len__(self) -> int:
        return len(self._rows)

    @classmethod
    def build(
        cls,
        vectors: np.ndarray | Tensor,
        kind: str = "exact",
        min_recall: float = 0.95,
        queries: np.ndarray | Tensor | None = None,
        seed: int = 0,
        progress: bool = False,
        threads: int | None = None,
    ) -> ItemIndex:
        """Index vectors; row numbers are those of the array.

        Parameters
        ----------
        vectors : np.ndarray | Tensor [n, d]
            Of any lengths. An array of float32 is kept, not copied: leave it as it is.
        kind : str, default 'exact'
            ``exact`` compares all; ``hnsw`` and ``ivf`` may miss an item, and need faiss.
        min_recall : float, default 0.95
            Share of the exact ten best items that a search has to find; it is made as thorough as that
            takes, within a limit.
        queries : np.ndarray | Tensor [m, d], optional
            Vectors of users to measure this on, 256 of them; by default item vectors with noise of
            their own length, which may be easier to answer than users are.
        seed : int, default 0
            Of the sample that lists are made from, and of the queries. The same vectors and seed give the
            same index.
        progress : bool, default False
            Whether a bar is shown, on a terminal.
        threads : int, optional
            To build with; by default all cores, with faiss before 1.15 one for ``hnsw``, whose graph is not
            the same each time where these versions make it on several.

        Raises
        ------
        MicroLensError
            The vectors or another argument are not of this form, or faiss is missing.
        """
        checked_build(kind, KINDS, min_recall, threads)
        rows = VectorRows(checked_vectors(vectors, "the item vectors"))
        if queries is not None:
            queries = checked_vectors(queries, "the queries", rows.dim)
        if kind == "exact":
            return cls(kind, rows)
        candidates = index_candidates.built(kind, rows, seed, progress, threads)
        tested = drawn_queries(rows, seed) if queries is None else some_of(queries, seed)
        efforts, recall = reach(rows, candidates, tested, min_recall)
        source = "noisy item vectors" if queries is None else "the given queries"
        getLogger().info(f"index: recall@{RECALL_AT} of {kind} is {recall:.3f} on {len(tested)} of {source}")
        return cls(kind, rows, candidates, efforts, recall)

    def holds(self, vectors: np.ndarray | Tensor) -> bool:
        """Whether these are the vectors [n, d] of the index, to the last bit."""
        other = checked_vectors(vectors, "the item vectors")
        if other.shape != (len(self), self.dim):
            return False
        blocks = self._rows.blocks(1 << 16)
        return all(np.array_equal(block, other[first : first + len(block)]) for first, block in blocks)

    def add(self, vectors: np.ndarray | Tensor) -> None:
        """Append vectors [a, d] as rows n, n + 1, ...; the next search finds them.

        Raises
        ------
        MicroLensError
            They are of another width, or not finite; nothing is added.
        """
        arriving = checked_vectors(vectors, "the new item vectors", self.dim)
        with self._alone():
            rows = self._rows.appended(arriving)
            if self._candidates is not None:
                index_candidates.extend(self._candidates, arriving)
            self._rows = rows

    def search(
        self,
        queries: np.ndarray | Tensor,
        k: int,
        excluded: Sequence[np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k items with the largest inner products with each query.

        Parameters
        ----------
        queries : np.ndarray | Tensor [B, d]
        k : int
            At least 1.
        excluded : Sequence[np.ndarray], optional
            For each query the rows that it must not be answered with, such as the items that a user has
            seen; there are k others as long as the index has them.

        Returns
        -------
        rows : np.ndarray [B, k], int64
            Best first; -1 behind the last item where there are fewer than k.
        scores : np.ndarray [B, k], float32
            Their inner products, computed from the vectors whatever the kind; -inf behind the last.

        Raises
        ------
        MicroLensError
            The queries, k or an excluded row are not of this form.
        """
        asked = checked_vectors(queries, "the queries", self.dim, empty=True)
        k = checked_k(k)
        with self._together():
            known = len(self._rows)
            left_out = Excluded.of(checked_excluded(excluded, len(asked), known))
            rows, scores = self._best(asked, min(k, known), left_out)
        rows[scores == -np.inf] = -1
        beyond = ((0, 0), (0, k - rows.shape[1]))
        return np.pad(rows, beyond, constant_values=-1), np.pad(scores, beyond, constant_values=-np.inf)

    def _best(self, queries: np.ndarray, k: int, excluded: Excluded) -> tuple[np.ndarray, np.ndarray]:
        if not len(queries):
            return np.empty((0, k), np.int64), np.empty((0, k), np.float32)
        with torch.inference_mode():
            if self._candidates is None:
                return exact_top(self._rows, queries, k, excluded)
            return approximate_top(self._rows, self._candidates, self._efforts, queries, k, excluded)

    def save(self, folder: str | Path) -> None:
        """Write the index into a folder, in place of one that is there already, whole or not at all.

        Raises
        ------
        MicroLensError
            Another process writes into the folder.
        OSError
            It cannot be written.
        """
        with self._together():
            index_file.save(Path(folder), self.kind, self._rows, self._candidates, self._efforts, self.recall)

    @classmethod
    def load(cls, folder: str | Path) -> ItemIndex:
        """Open an index; its vectors stay on the disk and are read as they are needed.

        Raises
        ------
        MicroLensError
            There is none, it is damaged, or it was written by a newer version; or faiss is missing.
        """
        return cls(*index_file.load(Path(folder), KINDS))

    @contextmanager
    def _together(self) -> Iterator[None]:
        with self._door, self._state:
            self._inside += 1
        try:
            yield
        finally:
            with self._state:
                self._inside -= 1
                self._state.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._door:
            with self._state:
                self._state.wait_for(lambda: self._inside == 0)
            yield
