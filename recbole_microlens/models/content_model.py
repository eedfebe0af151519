"""What all content models share: the drop-in in place of the item-id embedding, and its parameters."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.fusion import create_fusion
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.towers import create_towers
from recbole_microlens.models.side_features import create_side_features


class ContentModel:
    """Mixin before a RecBole sequential model: ``class SASRecV(EveryPositionModel, SASRec)``.

    The stock ``__init__`` builds itself, then ``item_embedding`` is replaced. How the model is trained is
    said by :class:`~recbole_microlens.models.every_position.EveryPositionModel` or
    :class:`~recbole_microlens.models.last_position.LastPositionModel`; scoring and ranking are the stock code
    on the item table.

    Class attributes
    ----------------
    whole_sequences : bool
        A training sample is a user's sequence or a window of it, not one of its prefixes.
    suffix : str
        What the model's name adds to its backbone's; empty for a class of your own.
    item_modality : tuple[str, ...]
        What an item's embedding is computed from.
    reads_tokens : bool
        Whether ``features`` are a vector for each token of an item, not one for the item.

    Attributes
    ----------
    epoch : int
        The epoch that trains, from 1 on; 0 before the first. Set by the trainer.
    """

    whole_sequences = False
    suffix = ""
    item_modality: tuple[str, ...] = ("video",)
    reads_tokens = False

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.negatives = config["negatives"]
        self.epoch = 0
        stock = getattr(self, "item_embedding", None)
        if not isinstance(stock, nn.Embedding):
            raise MicroLensError(
                f"model: {type(self).__name__} cannot be built: its backbone keeps no items in an "
                "`item_embedding`. Run `recbole-microlens models` for those that do."
            )
        self._put_in_place_of(stock, self._content_embedding(config, stock, dataset))
        self._count(dataset)

    def fill_item_table(self, batches: Iterable[ItemMedia]) -> None:
        """Encode every item once, for the evaluation that follows; see :class:`ContentItemEmbedding`."""
        self.item_embedding.get_all_embeddings(batches)

    def parameter_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Trainable parameters of the ``encoder`` and all ``others``; projections belong to either by their
        ``projection_group``. A trained pooling over frames is no part of the pretrained encoder.
        """
        encoders = self.item_embedding.encoders()
        pools = [encoder.trained_pool for encoder in encoders.values() if encoder.trained_pool]
        fresh = {id(parameter) for pool in pools for parameter in pool.parameters()}
        encoder = [parameter for parameter in encoders.parameters() if id(parameter) not in fresh]
        for tower in self.item_embedding.towers.values():
            if getattr(tower, "trains_with_encoder", False):
                encoder += tower.projection.parameters()
        in_encoder = {id(parameter) for parameter in encoder}
        others = [parameter for parameter in self.parameters() if id(parameter) not in in_encoder]
        groups = {"encoder": encoder, "others": others}
        return {name: [p for p in group if p.requires_grad] for name, group in groups.items()}

    def _content_embedding(self, config, stock: nn.Embedding, dataset) -> ContentItemEmbedding:
        """The drop-in for the item embedding that the backbone built."""
        has_extra = stock.num_embeddings > self.n_items
        embedding_class = EmbeddingWithExtraRows if has_extra else ContentItemEmbedding
        sides = create_side_features(config, dataset, stock)
        towers, dim = create_towers(config, stock, sides), stock.embedding_dim
        fusion = create_fusion(config["fusion"], len(towers), dim)
        embedding = embedding_class(towers, self.n_items, dim, fusion, config["encode_chunk"])
        if has_extra:
            embedding.extra = nn.Parameter(stock.weight.detach()[self.n_items :].clone())
        return embedding

    def _count(self, dataset) -> None:
        """Keep, of each item, what the loss needs to know of its popularity in the training data."""
        raise NotImplementedError

    def _put_in_place_of(self, stock: nn.Embedding, embedding: nn.Module) -> None:
        """Replace the stock embedding under every name it has: some models share it with their output."""
        if hasattr(stock, "bias"):
            embedding.bias = stock.bias
        for name, module in list(self._modules.items()):
            if module is stock:
                setattr(self, name, embedding)

    def __str__(self) -> str:
        lines = [f"{type(self).__name__}: {', '.join(self.item_embedding.towers)}"]
        if self.item_embedding.fusion is not None:
            lines.append(f"  fusion: {type(self.item_embedding.fusion).__name__}")
        for modality, encoder in self.item_embedding.encoders().items():
            lines.append(f"  {modality}: {encoder.spec.name}, {encoder.trained_part}")
        for name, group in self.parameter_groups().items():
            lines.append(f"  trainable in {name}: {sum(parameter.numel() for parameter in group):,}")
        lines.append(f"  parameters: {sum(parameter.numel() for parameter in self.parameters()):,}")
        return "\n".join(lines)


class EmbeddingWithExtraRows(ContentItemEmbedding):
    """The drop-in, and learned rows after the items: BERT4Rec's mask token has the id ``n_items``.

    Attributes
    ----------
    extra : nn.Parameter [rows, d]
        Set after construction from the stock embedding.
    """

    extra: nn.Parameter

    @property
    def weight(self) -> Tensor:
        """The table of all items and the extra rows, [n_items + rows, d]."""
        return torch.cat([super().weight, self.extra])
