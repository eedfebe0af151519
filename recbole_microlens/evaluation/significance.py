"""Paired tests over users: random flips of signs, and Holm's correction for several comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FLIPS = 10_000
_EXACT_UP_TO = 14  # as many users that differ have no more than FLIPS patterns of signs
_AT_ONCE = 1 << 22  # random signs held at once


def sign_flip_test(differences: np.ndarray, seed: int = 0, flips: int = FLIPS) -> float:
    """Two-sided p-value of a mean difference over users, if each difference might as well be its opposite.

    With few users that differ, all patterns of signs are gone through; otherwise random ones, of which the
    observed one is one: p = (1 + as extreme) / (1 + flips).

    Parameters
    ----------
    differences : np.ndarray
        The metric of one model minus that of another, [users]. Users without a difference change nothing.
    seed : int, default 0
        Of the random signs.
    flips : int, default FLIPS
        How many random patterns.

    Returns
    -------
    float
        In (0, 1]; 1 without any difference.

    References
    ----------
    Smucker, Allan, Carterette: A comparison of statistical significance tests for information retrieval
    evaluation. CIKM 2007.
    """
    differing = np.asarray(differences, dtype=np.float64)
    differing = differing[differing != 0]
    if len(differing) == 0:
        return 1.0
    observed = abs(differing.sum())
    least = observed - 1e-9 * np.abs(differing).sum()  # equal sums differ by rounding
    if len(differing) < _EXACT_UP_TO:
        patterns = np.arange(2 ** len(differing))[:, None] >> np.arange(len(differing)) & 1
        return float((np.abs((2 * patterns - 1) @ differing) >= least).mean())
    rng, extreme, left = np.random.default_rng(seed), 0, flips
    while left > 0:
        rows = min(left, max(1, _AT_ONCE // len(differing)))
        signs = 2.0 * rng.integers(0, 2, size=(rows, len(differing)), dtype=np.int8) - 1.0
        extreme += int((np.abs(signs @ differing) >= least).sum())
        left -= rows
    return (1 + extreme) / (1 + flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that may be held against one level together.

    Returns
    -------
    list[float]
        In the order given, each at most 1.

    References
    ----------
    Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics, 1979.
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for place, number in enumerate(sorted(range(len(p_values)), key=lambda each: p_values[each])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[number]))
        corrected[number] = largest
    return corrected
