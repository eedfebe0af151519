"""The mixin that gives a RecBole sequential model a content encoder in place of its item-id embedding."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.towers import create_towers
from recbole_microlens.losses import in_batch_softmax, log_popularity


class ContentModel:
    """``class SASRecV(ContentModel, SASRec)``: the stock model with the drop-in.

    The stock ``__init__`` builds itself, then ``item_embedding`` is replaced. Training takes whole sequences
    and predicts at every position; scoring and ranking are the stock code on the item table.

    Class attributes
    ----------------
    whole_sequences : the dataset gives one training sample a user.
    """

    whole_sequences = True

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self._at_every_position = False
        towers = create_towers(config, self.item_embedding)
        self.item_embedding = ContentItemEmbedding(
            towers,
            self.n_items,
            self.item_embedding.embedding_dim,
            encode_chunk=config["encode_chunk"],
        )
        self.register_buffer("log_popularity", log_popularity(dataset.popularity), persistent=False)

    def gather_indexes(self, output: Tensor, gather_index: Tensor) -> Tensor:
        """RecBole's choice of one position's state; in training, the states of all positions [B, L, d]."""
        return output if self._at_every_position else super().gather_indexes(output, gather_index)

    def calculate_loss(self, batch) -> Tensor:
        """In-batch softmax at every position of the batch's sequences.

        Parameters
        ----------
        batch : :class:`~recbole_microlens.data.dataloader.ContentBatch` with RecBole's fields: item sequence
            [B, L] padded on the right, its length [B], the last target [B].
        """
        item_seq, length, target = batch[self.ITEM_SEQ], batch[self.ITEM_SEQ_LEN], batch[self.ITEM_ID]
        item_ids = torch.cat([item_seq, torch.zeros_like(target).unsqueeze(1)], dim=1)  # [B, L + 1]
        item_ids.scatter_(1, length.unsqueeze(1), target.unsqueeze(1))
        positions = torch.arange(item_seq.size(1), device=item_seq.device)
        target_mask = positions < length.unsqueeze(1)  # [B, L]
        with self.item_embedding.using(batch.media):
            states = self._states(item_seq, length)  # [B, L, d]
            embeddings = self.item_embedding(item_ids)  # [B, L + 1, d]
        return in_batch_softmax(states, embeddings, item_ids, target_mask, self.log_popularity)

    def fill_item_table(self, batches: Iterable[ItemMedia]) -> None:
        """Encode every item once, for the evaluation that follows; see :class:`ContentItemEmbedding`."""
        self.item_embedding.fill_table(batches)

    def parameter_groups(self) -> dict[str, list[torch.nn.Parameter]]:
        """Trainable parameters of the ``encoder``, and all ``others`` (projection and backbone)."""
        encoder = list(self.item_embedding.encoders().parameters())
        in_encoder = {id(parameter) for parameter in encoder}
        others = [parameter for parameter in self.parameters() if id(parameter) not in in_encoder]
        groups = {"encoder": encoder, "others": others}
        return {name: [p for p in group if p.requires_grad] for name, group in groups.items()}

    def _states(self, item_seq: Tensor, length: Tensor) -> Tensor:
        self._at_every_position = True
        try:
            return self.forward(item_seq, length)
        finally:
            self._at_every_position = False

    def __str__(self) -> str:
        lines = [f"{type(self).__name__}: {', '.join(self.item_embedding.towers)}"]
        for modality, encoder in self.item_embedding.encoders().items():
            lines.append(
                f"  {modality}: {encoder.spec.name}, top {encoder.trainable_stages} of {encoder.n_stages} "
                "stages train"
            )
        for name, group in self.parameter_groups().items():
            lines.append(f"  trainable in {name}: {sum(parameter.numel() for parameter in group):,}")
        lines.append(f"  parameters: {sum(parameter.numel() for parameter in self.parameters()):,}")
        return "\n".join(lines)
