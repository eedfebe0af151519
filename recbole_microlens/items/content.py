"""The drop-in for ``item_embedding``: an item's embedding computed from its content.

RecBole's sequential models use ``self.item_embedding`` in two ways, ``item_embedding(ids)`` and
``item_embedding.weight``; this layer answers both.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from recbole_microlens import distributed
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.chunks import encode_in_chunks
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.partly_cached import PartlyCached


class TrunkRows(Protocol):
    """Something that knows the output of an encoder's trunk by item: an activation cache."""

    def read(self, item_ids: Tensor) -> TrunkOutput:
        """Item ids [U] -> what the trunk gave for them."""


class ContentItemEmbedding(nn.Module):
    """Embeds items through a tower for each modality, and a fusion where there are several.

    While training, :meth:`encode_batch` brings the content of a batch: each distinct item is encoded once,
    and :meth:`forward` gathers. For evaluation, :meth:`get_all_embeddings` encodes every item once; the table
    is dropped when the layer goes back to training.

    Parameters
    ----------
    towers : nn.ModuleDict
        By modality, :class:`ItemMedia` of U items -> [U, d].
    n_items : int
        Number of items, padding (id 0) included.
    embedding_dim : int
        d.
    fusion : nn.Module, optional
        One [U, d] for each tower, in a list -> [U, d]; not needed with one tower.
    encode_chunk : int, optional
        Items encoded at once while training; more are encoded in chunks, which bounds the memory. All at once
        by default.

    """

    def __init__(
        self,
        towers: nn.ModuleDict,
        n_items: int,
        embedding_dim: int,
        fusion: nn.Module | None = None,
        encode_chunk: int | None = None,
    ):
        super().__init__()
        self.towers = towers
        self.n_items = n_items
        self.embedding_dim = embedding_dim
        self.fusion = fusion
        self.encode_chunk = encode_chunk
        self.cached: dict[str, TrunkRows] = {}
        self._rows: Tensor | None = None
        self._row_of: Tensor | None = None
        self._table: Tensor | None = None

    def encoders(self) -> nn.ModuleDict:
        """The encoders of the towers that have one, by modality."""
        return nn.ModuleDict(
            {name: tower.encoder for name, tower in self.towers.items() if hasattr(tower, "encoder")}
        )

    def read_trunk_output(self, modality: str, rows: TrunkRows | None) -> None:
        """Read the trunk's output of a modality from an activation cache on this layer's device, in place of
        the content that a batch brings; ``None``: from the batch again. Where the batch brings a
        ``PartlyCached``, the rows of the items that are cached.
        """
        self.cached.pop(modality, None)
        if rows is not None:
            self.cached[modality] = rows

    def encode(self, media: ItemMedia) -> Tensor:
        """The content of U items -> embeddings [U, d]."""
        if self.encode_chunk is None or len(media.item_ids) <= self.encode_chunk:
            return self._encode(media)
        return encode_in_chunks(self._encode, self.towers, media, self.encode_chunk)

    def _encode(self, media: ItemMedia) -> Tensor:
        content = dict(media.content)
        for name, rows in self.cached.items():
            part = content.get(name)
            is_partly = isinstance(part, PartlyCached)
            content[name] = (
                part.with_rows(rows.read, media.item_ids) if is_partly else rows.read(media.item_ids)
            )
        media = ItemMedia(media.item_ids, content)
        embeddings = [tower(media) for tower in self.towers.values()]
        return embeddings[0] if self.fusion is None else self.fusion(embeddings)

    @contextmanager
    def encode_batch(self, media: ItemMedia) -> Iterator[None]:
        """Encode the distinct items of a batch; inside the block :meth:`forward` knows these items."""
        embeddings = self.encode(media)  # [U, d]
        self._rows = torch.cat([embeddings.new_zeros(1, self.embedding_dim), embeddings])
        self._row_of = media.item_ids.new_full((self.n_items,), -1)
        self._row_of[media.item_ids] = torch.arange(1, len(media.item_ids) + 1, device=media.item_ids.device)
        self._row_of[0] = 0
        try:
            yield
        finally:
            self._rows = self._row_of = None

    def forward(self, item_ids: Tensor) -> Tensor:
        """Item ids of any shape [...] -> embeddings [..., d]; padding gives zeros.

        Raises
        ------
        RuntimeError
            Neither a batch's content nor a table is there.
        IndexError
            An id has no content in the batch.
        """
        if self._rows is not None and self._row_of is not None:
            return nn.functional.embedding(self._row_of[item_ids], self._rows)
        return nn.functional.embedding(item_ids, self.weight)

    def encode_without_id(self, media: ItemMedia) -> Tensor:
        """As :meth:`encode`, of items that have no id here: what an id would add is zeros.

        Parameters
        ----------
        media : ItemMedia
            The content of U items; their ids are not looked at.

        Returns
        -------
        Tensor [U, d]
        """
        zeros = torch.zeros(len(media.item_ids), self.embedding_dim, device=media.item_ids.device)
        embeddings = [zeros if name == "id" else tower(media) for name, tower in self.towers.items()]
        return embeddings[0] if self.fusion is None else self.fusion(embeddings)

    @property
    def weight(self) -> Tensor:
        """:attr:`table`; a subclass may have rows behind it."""
        return self.table

    @property
    def table(self) -> Tensor:
        """The table of all items, [n_items, d], row 0 zeros, once :meth:`get_all_embeddings` has made it."""
        if self._table is None:
            raise RuntimeError("the item table is not there: call get_all_embeddings() in eval mode first")
        return self._table

    @torch.no_grad()
    def get_all_embeddings(self, batches: Iterable[ItemMedia]) -> Tensor:
        """Encode all items in eval mode, each once, and keep their embeddings for :attr:`weight`.

        Parameters
        ----------
        batches : Iterable[ItemMedia]
            The content of all items 1 .. n_items - 1, in any order, on the layer's device; of several
            processes, of each its share.

        Returns
        -------
        Tensor
            [n_items, d], row 0 zeros.
        """
        device = next(self.parameters()).device
        table = torch.zeros(self.n_items, self.embedding_dim, device=device)
        for media in batches:
            table[media.item_ids] = self.encode(media).float()
        self._table = distributed.all_reduce_sum(table)
        return self._table

    def train(self, mode: bool = True) -> "ContentItemEmbedding":
        if mode:
            self._table = None
        return super().train(mode)
