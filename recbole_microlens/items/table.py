"""The drop-in for ``item_embedding`` where every item's embedding is known already: a table that can grow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HEADROOM = 1.25


class ItemTable(nn.Module):
    """Embeddings of items by id, without what they were computed with.

    Parameters
    ----------
    embeddings : Tensor [n_items, d]
        Row 0 is padding.
    extra : Tensor [rows, d], optional
        Rows that stand behind all items: BERT4Rec's mask token has the id ``n_items``.
    """

    _rows: Tensor

    def __init__(self, embeddings: Tensor, extra: Tensor | None = None):
        super().__init__()
        self.n_items = len(embeddings)
        self.embedding_dim = embeddings.size(1)
        extra = embeddings[:0] if extra is None else extra
        self._n_extra = len(extra)
        rows = torch.cat([embeddings, extra]) if self._n_extra else embeddings
        self.register_buffer("_rows", rows, persistent=False)
        self._stand_in: Tensor | None = None

    def forward(self, item_ids: Tensor) -> Tensor:
        """Ids of any shape [...] -> [..., d]."""
        return F.embedding(item_ids, self._all())

    @property
    def weight(self) -> Tensor:
        """All items and the extra rows, [n_items + rows, d]."""
        return self._all() if self._stand_in is None else self._stand_in

    @property
    def table(self) -> Tensor:
        """The items alone, [n_items, d]."""
        return self._all()[: self.n_items]

    def extend(self, embeddings: Tensor) -> None:
        """Put more items [m, d] behind those that are there; the extra rows stay behind them."""
        before, grown = self._all(), self.n_items + len(embeddings)
        extra = before[self.n_items :].clone()
        needed = grown + self._n_extra
        if needed > len(self._rows):
            rows = before.new_empty(max(needed, int(len(before) * _HEADROOM)), self.embedding_dim)
            rows[: self.n_items] = before[: self.n_items]
            self._rows = rows
        self._rows[self.n_items : grown] = embeddings
        self._rows[grown:needed] = extra
        self.n_items = grown

    @contextmanager
    def weight_is(self, stand_in: Tensor) -> Iterator[None]:
        """Inside the block :attr:`weight` is another matrix; looking up ids is as before."""
        self._stand_in = stand_in
        try:
            yield
        finally:
            self._stand_in = None

    def _all(self) -> Tensor:
        return self._rows[: self.n_items + self._n_extra]
