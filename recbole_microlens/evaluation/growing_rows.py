"""Rows of many batches in one tensor that grows: small tensors kept from each batch would pin the heap."""

from __future__ import annotations

import torch
from torch import Tensor

_FIRST_ROWS = 1024


class GrowingRows:
    """Rows that are added batch by batch; false until there was a batch, even one without rows.

    A list of a small tensor from each batch, allocated between blocks of scores of tens of megabytes, keeps
    the C library from using the room of these again: two megabytes a batch at 91,402 items.
    """

    def __init__(self):
        self._rows: Tensor | None = None
        self._count = 0

    def __bool__(self) -> bool:
        return self._rows is not None

    def append(self, rows: Tensor) -> None:
        """Add rows, [n, ...], all of one width, type and device; they are copied."""
        if self._rows is None:
            self._rows = rows.new_empty(max(_FIRST_ROWS, len(rows)), *rows.shape[1:])
        needed = self._count + len(rows)
        if needed > len(self._rows):
            larger = self._rows.new_empty(max(needed, 2 * len(self._rows)), *rows.shape[1:])
            larger[: self._count] = self._rows[: self._count]
            self._rows = larger
        self._rows[self._count : needed] = rows
        self._count = needed

    def joined(self) -> Tensor:
        """All rows so far."""
        return torch.empty(0) if self._rows is None else self._rows[: self._count]
