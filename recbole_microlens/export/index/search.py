"""Approximate search with exact scores: candidates less what is excluded, scored by their vectors."""

from __future__ import annotations

import numpy as np
import torch

from recbole_microlens.export.index.candidates import Graph, Lists
from recbole_microlens.export.index.rows import Excluded, VectorRows, exact_top

Efforts = list[tuple[int, int]]
"""Ranks, and the effort that finds enough of the items down to them; both ascending."""

_NUMBERS = 1 << 24  # of the vectors that are scored at once: 64 MB
_QUERIES = 64  # that are asked at once


def approximate_top(
    rows: VectorRows,
    candidates: Lists | Graph,
    efforts: Efforts,
    queries: np.ndarray,
    k: int,
    excluded: Excluded,
) -> tuple[np.ndarray, np.ndarray]:
    """The best k [B, k] of the candidates of each query, best first, and their inner products [B, k].

    Excluded items that are better than the answers mean that these stand at a lower rank, where more effort
    is due: the search is then repeated with it. Where that leaves fewer than k, and the index has more, the
    search is exact.

    Parameters
    ----------
    queries : np.ndarray [B, d], float32
    k : int
        At most the number of rows. Of a query that has fewer, the last scores are -inf.
    """
    found = np.full((len(queries), k), -1)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    tried = np.full(len(queries), -1)
    due = _level(efforts, np.full(len(queries), k))
    while (due > tried).any():
        level = due[due > tried].min()
        now = np.flatnonzero((due > tried) & (due == level))
        answers = one_pass(rows, candidates, efforts[level][1], queries[now], k, excluded.of_queries(now))
        found[now], scores[now], better = answers
        tried[now], due[now] = level, np.maximum(level, _level(efforts, k + better))
    wanted = np.minimum(k, len(rows) - excluded.counts(len(queries)))
    short = np.flatnonzero((scores > -np.inf).sum(axis=1) < wanted)
    if len(short):
        found[short], scores[short] = exact_top(rows, queries[short], k, excluded.of_queries(short))
    return found, scores


def one_pass(
    rows: VectorRows,
    candidates: Lists | Graph,
    effort: int,
    queries: np.ndarray,
    k: int,
    excluded: Excluded,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`approximate_top`, with one effort, and how many excluded candidates are better than the last
    answer of each query, [B]."""
    counts = excluded.counts(len(queries))
    step = min(max(_NUMBERS // (_asked(k, counts.max(), len(rows)) * rows.dim), 1), _QUERIES)
    order = np.argsort(counts, kind="stable")  # those that exclude many are asked together
    found = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    better = np.empty(len(queries), np.int64)
    for begin in range(0, len(queries), step):
        now = order[begin : begin + step]
        likely = candidates.candidates(queries[now], _asked(k, counts[now[-1]], len(rows)), effort)
        values = _scores(rows, queries[now], likely)
        seen = excluded.of_queries(now).holds(likely)
        best, place = torch.from_numpy(np.where(seen | (likely < 0), -np.inf, values)).topk(k)
        found[now], scores[now] = np.take_along_axis(likely, place.numpy(), axis=1), best.numpy()
        better[now] = (seen & (values > scores[now, -1:])).sum(axis=1)
    return found, scores, better


def _asked(k: int, excluded: int, known: int) -> int:
    # A few more than needed, which the bf16 copy may have put in the wrong order.
    return int(min(k + excluded + k // 4 + 8, known))


def _level(efforts: Efforts, rank: np.ndarray) -> np.ndarray:
    """Which effort is due down to a rank; the last one beyond."""
    return np.searchsorted([down_to for down_to, _ in efforts[:-1]], rank)


def _scores(rows: VectorRows, queries: np.ndarray, likely: np.ndarray) -> np.ndarray:
    vectors = rows.take(np.maximum(likely, 0))  # [B, c, d]
    return np.einsum("bcd,bd->bc", vectors, queries)  # on this thread: too little work for more
