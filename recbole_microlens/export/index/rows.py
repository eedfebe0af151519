"""Item vectors that grow without being copied, and exact search over them in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.evaluation.top_items import top_items

_SCORES = 1 << 24  # of one block of queries and rows: 64 MB
_QUERIES = 256  # of one block
_FEW = 32


class VectorRows:
    """Vectors [n, d] of float32 in two arrays: those given first, as they are, and those appended since.

    An object never changes: :meth:`appended` gives another one, which shares all it can. Only the newest
    may be appended to.
    """

    def __init__(self, first: np.ndarray, spare: np.ndarray | None = None, appended: int = 0):
        self._spare = first[:0] if spare is None else spare
        self._arrays = [first, self._spare[:appended]]
        self.dim = first.shape[1]

    def __len__(self) -> int:
        return sum(map(len, self._arrays))

    def appended(self, vectors: np.ndarray) -> VectorRows:
        """These rows and vectors [a, d] behind them."""
        first, old = self._arrays
        end = len(old) + len(vectors)
        spare = self._spare
        if end > len(spare):
            spare = np.empty((end + end // 2, self.dim), np.float32)
            spare[: len(old)] = old
        spare[len(old) : end] = vectors
        return VectorRows(first, spare, end)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The vectors [*, d] of rows [*]."""
        first, later = self._arrays
        if not len(later):
            return first[rows]
        vectors = first[np.minimum(rows, len(first) - 1)]
        is_later = rows >= len(first)
        vectors[is_later] = later[rows[is_later] - len(first)]
        return vectors

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """The first row of each block of at most ``size`` rows, and the block, without a copy."""
        start = 0
        for array in self._arrays:
            for begin in range(0, len(array), size):
                yield start + begin, array[begin : begin + size]
            start += len(array)


def exact_top(
    rows: VectorRows, queries: np.ndarray, k: int, excluded: Excluded
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows [B, k] with the largest inner products, best first, and these [B, k].

    Parameters
    ----------
    queries : np.ndarray [B, d], float32
    k : int
        At most the number of rows. Of a query that has fewer, the last scores are -inf.
    """
    parts = [
        _top_of_block(rows, queries[begin : begin + _QUERIES], k, excluded.part(begin, begin + _QUERIES))
        for begin in range(0, len(queries), _QUERIES)
    ]
    return tuple(torch.cat(part).numpy() for part in zip(*parts, strict=True))  # type: ignore[return-value]


def _top_of_block(rows: VectorRows, queries: np.ndarray, k: int, excluded: Excluded) -> tuple[Tensor, Tensor]:
    size = max(_SCORES // len(queries), 1)
    # One more than asked for: two blocks may have equal scores for the last place.
    more = min(k + 1, len(rows))
    best, found = [], []
    for first, scores in _scores(rows, queries, excluded, size):
        columns = top_items(scores, k if scores.size(1) == len(rows) else min(more, scores.size(1)))
        best.append(scores.gather(1, columns))
        found.append(columns + first)
    if len(best) == 1:
        return found[0], best[0]
    values, place = torch.cat(best, dim=1).topk(more)
    chosen = torch.cat(found, dim=1).gather(1, place)
    # Which of several equal scores come first is for torch.topk to say, and it must see the whole row.
    for tied in (values[:, 1:] == values[:, :-1]).any(dim=1).nonzero()[:, 0].tolist():
        whole = _scores(rows, queries[tied : tied + 1], excluded.part(tied, tied + 1), size)
        values[tied, :k], chosen[tied, :k] = torch.cat([scores[0] for _, scores in whole]).topk(k)
    return chosen[:, :k], values[:, :k]


def _scores(
    rows: VectorRows, queries: np.ndarray, excluded: Excluded, size: int
) -> Iterator[tuple[int, Tensor]]:
    of_queries = torch.from_numpy(queries)
    for first, block in rows.blocks(size):
        scores = _products(of_queries, torch.from_numpy(block))
        row, column = excluded.within(first, first + len(block))
        scores[row, column] = -torch.inf
        yield first, scores


def _products(queries: Tensor, block: Tensor) -> Tensor:
    if len(queries) > _FEW:
        return queries @ block.T
    return (block @ queries.T).T.contiguous()  # for few queries in up to half the time


class Excluded:
    """Pairs of a query and a row that is not an answer to it.

    Parameters
    ----------
    queries, rows : np.ndarray [P], int64
        Sorted by query.
    """

    def __init__(self, queries: np.ndarray, rows: np.ndarray):
        self.queries, self.rows = queries, rows

    @classmethod
    def of(cls, lists: Sequence[np.ndarray]) -> Excluded:
        """From the rows of each query; a row may be in a list twice."""
        lists = [np.unique(rows) for rows in lists]
        queries = np.repeat(np.arange(len(lists)), [len(rows) for rows in lists])
        return cls(queries, np.concatenate([np.empty(0, np.int64), *lists]))

    @classmethod
    def none(cls) -> Excluded:
        """No pairs, whatever the number of queries."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64))

    def part(self, begin: int, end: int) -> Excluded:
        """Those of the queries from ``begin`` to before ``end``, which are numbered from 0 again."""
        low, high = np.searchsorted(self.queries, (begin, end))
        return Excluded(self.queries[low:high] - begin, self.rows[low:high])

    def of_queries(self, chosen: np.ndarray) -> Excluded:
        """Those of some queries, given by their numbers, which are numbered from 0 in this order."""
        if not len(self.rows):
            return self
        number = np.full(max(chosen.max(), self.queries[-1]) + 1, -1)
        number[chosen] = np.arange(len(chosen))
        queries = number[self.queries]
        order = np.argsort(queries, kind="stable")[(queries < 0).sum() :]
        return Excluded(queries[order], self.rows[order])

    def counts(self, queries: int) -> np.ndarray:
        """How many rows each of so many queries excludes, [queries]."""
        return np.bincount(self.queries, minlength=queries)

    def within(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of the rows from ``begin`` to before ``end``, which are numbered from 0 again."""
        kept = (self.rows >= begin) & (self.rows < end)
        return self.queries[kept], self.rows[kept] - begin

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Which of rows [B, c] are excluded for their query, [B, c]."""
        if not len(self.rows):
            return np.zeros(rows.shape, bool)
        width = int(max(self.rows.max(initial=0), rows.max(initial=0))) + 1
        keys = np.arange(len(rows))[:, None] * width + rows
        return np.isin(keys, self.queries * width + self.rows) & (rows >= 0)
