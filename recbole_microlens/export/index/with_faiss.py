"""faiss where it is installed, its threads, and what its indexes have in common."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging import WARNING, getLogger
from types import ModuleType

import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.index.rows import VectorRows

_BLOCK = 1 << 15


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


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Inside the block faiss works on so many threads for this one, None: as before."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def blocks(rows: VectorRows, bar: tqdm | None = None) -> Iterator[np.ndarray]:
    """All rows, as many at a time as faiss is given; the bar goes on behind each."""
    for _, block in rows.blocks(_BLOCK):
        yield block
        if bar is not None:
            bar.update(len(block))


def steps(first: int, last: int) -> list[int]:
    """Efforts to try: from ``first`` up, each about half as large again as the one before, and ``last``."""
    found = [first]
    while found[-1] < last:
        found.append(min(max(found[-1] * 3 // 2, found[-1] + 1), last))
    return found
