"""Likely answers to a query by faiss: items in lists by direction (``ivf``), or in a graph (``hnsw``).

Both hold a bf16 copy of the vectors, whose range no new item can leave, and give rows alone; scores are for
the caller to compute from the vectors themselves. How vectors of unequal length are treated is chosen by
measurement, see ``docs/index_search.md``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.export.index.graph import Graph
from recbole_microlens.export.index.lists import Lists
from recbole_microlens.export.index.rows import VectorRows
from recbole_microlens.export.index.with_faiss import import_faiss
from recbole_microlens.export.index.with_faiss import threads as threads_of

CANDIDATES: dict[str, type[Lists | Graph]] = {each.kind: each for each in (Lists, Graph)}


def built(kind: str, rows: VectorRows, seed: int, progress: bool, threads: int | None) -> Lists | Graph:
    """Candidates of all rows; the same each time for the same rows and seed, where ``threads`` is left out.

    Parameters
    ----------
    threads : int, optional
        By default as many as give the same each time.
    """
    with threads_of(threads or _repeatable(kind)):
        made = CANDIDATES[kind].empty(rows, seed)
        bar = tqdm(total=len(rows), desc=f"index ({kind})", unit="item", disable=None if progress else True)
        with bar:
            made.fill(rows, bar)
    return made


def extend(candidates: Lists | Graph, vectors: np.ndarray) -> None:
    """Add vectors [a, d], in the same way each time."""
    with threads_of(_repeatable(candidates.kind)):
        candidates.add(vectors)


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
