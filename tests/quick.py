"""Of many cases of one kind a few are run each time; the rest are in the slow group."""

from collections.abc import Iterable
from typing import Any

import pytest

A_FEW = ("SASRec", "BERT4Rec", "NARM", "HGN")
"""A backbone of each kind: every position, masked items, last position, rows of users."""


def some(cases: Iterable[Any], *quick: Any) -> list:
    """All cases as parameters, those that are not among ``quick`` marked as slow."""
    cases = list(cases)
    assert set(quick) <= set(cases)
    return [pytest.param(case, marks=[] if case in quick else [pytest.mark.slow]) for case in cases]
