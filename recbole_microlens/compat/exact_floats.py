"""pandas reads the numbers of a CSV file exactly only if asked to; since 3.1 always, and asking warns."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import pandas as pd

_ROUNDED = 906468903911.9589  # the parser of pandas before 3.1 is one bit off


@cache
def exact_floats() -> dict[str, Any]:
    """What ``pd.read_csv`` takes beside the rest, so that a number is the nearest float64 to its digits."""
    read = pd.read_csv(io.StringIO(f"number\n{_ROUNDED!r}\n"))["number"][0]
    return {} if read == _ROUNDED else {"float_precision": "round_trip"}
