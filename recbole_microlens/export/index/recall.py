"""How thorough a search has to be: the least effort whose answers hold enough of the exact ones."""

from __future__ import annotations

from logging import getLogger

import numpy as np

from recbole_microlens.export.index.candidates import Graph, Lists
from recbole_microlens.export.index.rows import Excluded, VectorRows, exact_top
from recbole_microlens.export.index.search import Efforts, one_pass

RECALL_AT = 10
_RANKS = (10, 20, 40, 80, 160, 320)  # down to which effort is measured
_QUERIES = 256
_NOISE = 1.0  # by the length of the vector
_ROUNDING = 1e-5  # by the best score


def drawn_queries(rows: VectorRows, seed: int) -> np.ndarray:
    """Item vectors with noise of their own length, [m, d]."""
    generator = np.random.default_rng([seed, 1])
    chosen = np.sort(generator.choice(len(rows), min(_QUERIES, len(rows)), replace=False))
    vectors = rows.take(chosen)
    noise = generator.standard_normal(vectors.shape, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors + noise * (_NOISE * length / rows.dim**0.5).astype(np.float32)


def some_of(queries: np.ndarray, seed: int) -> np.ndarray:
    """As many of the queries as recall is measured on."""
    chosen = np.random.default_rng([seed, 1]).choice(len(queries), min(_QUERIES, len(queries)), replace=False)
    return queries[np.sort(chosen)]


def reach(
    rows: VectorRows, candidates: Lists | Graph, queries: np.ndarray, min_recall: float
) -> tuple[Efforts, float]:
    """For each of some ranks the least effort that finds ``min_recall`` of the ten items that end there,
    where all before are excluded; and the recall at rank ten.

    Where the largest effort does not find as many, it is taken, at rank ten with a warning.
    """
    ranks = [rank for rank in _RANKS if rank <= len(rows)] or [len(rows)]
    best, scores = exact_top(rows, queries, ranks[-1], Excluded.none())
    steps = candidates.efforts()
    efforts: Efforts = []
    recalls: list[float] = []
    for rank in ranks:
        k = min(RECALL_AT, rank)
        excluded = Excluded.of(list(best[:, : rank - k]))
        for effort in [step for step in steps if not efforts or step >= efforts[-1][1]]:
            _, found, _ = one_pass(rows, candidates, effort, queries, k, excluded)
            recall = recall_of(found, scores[:, rank - k : rank])
            if recall >= min_recall:
                break
        efforts.append((rank, effort))
        recalls.append(recall)
    _report(candidates.kind, ranks, recalls, min_recall)
    return efforts, recalls[0]


def recall_of(scores: np.ndarray, best: np.ndarray) -> float:
    """The share of the scores [m, k], best first, that are as good as the last of the exact ones [m, k].

    Of items with equal scores, such as those with equal vectors, any is right.
    """
    least = best[:, -1:] - _ROUNDING * np.abs(best).max(axis=1, keepdims=True)
    return float((scores >= least).mean())


def _report(kind: str, ranks: list[int], recalls: list[float], min_recall: float) -> None:
    if recalls[0] < min_recall:
        getLogger().warning(
            f"index: {kind} finds {recalls[0]:.3f} of the ten best items, not {min_recall}, with the most "
            "effort that is worth it for these vectors. Use the kind exact."
        )
    for rank, recall in zip(ranks[1:], recalls[1:], strict=True):
        getLogger().info(
            f"index: {kind} finds {recall:.3f} of ten behind {rank - RECALL_AT} excluded better ones"
        )
