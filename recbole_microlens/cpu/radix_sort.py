"""A stable argsort of ids and times by two passes of NumPy's radix sort, which NumPy has for 16 bits only.

``benchmarks/cpu_speedups.py`` has the ratio to ``argsort(kind="stable")``.
"""

from __future__ import annotations

import numpy as np


def stable_argsort(key: np.ndarray) -> np.ndarray:
    """Row numbers [n] that sort ``key`` [n]; equal values keep their order, as NumPy's stable argsort."""
    if np.issubdtype(key.dtype, np.integer) and 0 <= key.min(initial=0) <= key.max(initial=0) < 1 << 32:
        bits = key.astype(np.uint32)
    elif key.dtype == np.float32 and not (np.signbit(key) | np.isnan(key)).any():
        bits = key.view(np.uint32)
    else:
        return key.argsort(kind="stable")
    if bits.max(initial=0) < 1 << 16:
        return bits.astype(np.uint16).argsort(kind="stable")
    by_low = (bits & 0xFFFF).astype(np.uint16).argsort(kind="stable")
    return by_low[(bits >> 16).astype(np.uint16)[by_low].argsort(kind="stable")]
