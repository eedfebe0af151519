"""Models that are trained at every position of whole sequences, with the in-batch softmax of the paper."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_microlens.losses import in_batch_softmax, log_popularity
from recbole_microlens.models.content_model import ContentModel
from recbole_microlens.models.negatives import with_sequences_of_all


class StatesAtEveryPosition:
    """Mixin for causal backbones whose ``forward`` ends in ``gather_indexes(states, length - 1)``.

    A backbone may have a class attribute ``also_reads``: by name of a further argument of its ``forward``,
    the column of a batch that it takes, where there is one.
    """

    _at_every_position = False

    def gather_indexes(self, output: Tensor, gather_index: Tensor) -> Tensor:
        """RecBole's choice of one position's state; inside :meth:`states` those of all positions."""
        return output if self._at_every_position else super().gather_indexes(output, gather_index)

    def states(self, item_seq: Tensor, length: Tensor, **more: Tensor) -> Tensor:
        """Item ids [B, L] and their number [B] -> the state at each position, [B, L, d].

        Parameters
        ----------
        more : Tensor
            What ``also_reads`` names.
        """
        self._at_every_position = True
        try:
            return self.forward(item_seq, length, **more)
        finally:
            self._at_every_position = False


class EveryPositionModel(StatesAtEveryPosition, ContentModel):
    """Mixin for causal backbones, see :class:`StatesAtEveryPosition`, trained on whole sequences.

    The loss is the in-batch softmax alone, see :meth:`sequence_loss`; the backbone's own loss and its
    ``reg_weight`` are not used: the protocol regularises with weight decay.
    """

    whole_sequences = True

    def calculate_loss(self, batch) -> Tensor:
        """In-batch softmax at every position of the batch's sequences.

        Parameters
        ----------
        batch : ContentBatch
            :class:`~recbole_microlens.data.dataloader.ContentBatch` with RecBole's fields: item sequence
            [B, L] padded on the right, its length [B], the last target [B].
        """
        item_seq, length, target = batch[self.ITEM_SEQ], batch[self.ITEM_SEQ_LEN], batch[self.ITEM_ID]
        item_ids = torch.cat([item_seq, torch.zeros_like(target).unsqueeze(1)], dim=1)  # [B, L + 1]
        item_ids.scatter_(1, length.unsqueeze(1), target.unsqueeze(1))
        positions = torch.arange(item_seq.size(1), device=item_seq.device)
        target_mask = positions < length.unsqueeze(1)  # [B, L]
        with self.item_embedding.encode_batch(batch.media):
            states = self.states(item_seq, length, **self._also_read(batch))  # [B, L, d]
            embeddings = self.item_embedding(item_ids)  # [B, L + 1, d]
        if batch.is_idle:
            item_ids, target_mask = torch.zeros_like(item_ids), torch.zeros_like(target_mask)
        given = states, embeddings, item_ids, target_mask
        if self.negatives == "global":
            given = with_sequences_of_all(*given)
        return self.sequence_loss(*given)

    def sequence_loss(
        self, states: Tensor, embeddings: Tensor, item_ids: Tensor, target_mask: Tensor
    ) -> Tensor:
        """The loss over whole sequences: the in-batch softmax. A class with another loss overrides this.

        Parameters
        ----------
        states : Tensor [B, L, d]
            The backbone's output at each input position.
        embeddings : Tensor [B, L + 1, d]
            The embedding of each id in ``item_ids``.
        item_ids : Tensor [B, L + 1], int64
            Inputs and, one position later, targets; 0 is padding.
        target_mask : Tensor [B, L], bool
            True where ``item_ids[:, t + 1]`` is a real target of position t. With several processes the
            sequences are those of all, and the targets those of this one.

        Returns
        -------
        Tensor
            A scalar, the mean over the real targets; 0, with gradients of 0, if there is none.
        """
        return in_batch_softmax(states, embeddings, item_ids, target_mask, self.log_popularity)

    def _also_read(self, batch) -> dict[str, Tensor]:
        reads = getattr(self, "also_reads", {})
        return {name: batch[column] for name, column in reads.items() if column in batch}

    def n_targets(self, batch) -> int:
        """Over how many targets the loss of a batch is a mean."""
        return int(batch[self.ITEM_SEQ_LEN].sum())

    def _count(self, dataset) -> None:
        self.register_buffer("log_popularity", log_popularity(dataset.popularity), persistent=False)


class AtRealItems:
    """Mixin for NextItNet, which is read at real items.

    RecBole's takes the last column ``[:, -1]``, which on its sequences, padded on the right, is the state of
    a padding position for every user with a short history.
    """

    def forward(self, item_seq: Tensor, item_seq_len: Tensor | None = None) -> Tensor:
        """[B, L] item ids -> the state at the last real item, [B, d]; in training at all positions.

        Parameters
        ----------
        item_seq_len : Tensor [B], optional
            Counted where RecBole's prediction does not give it.
        """
        length = (item_seq != 0).sum(1) if item_seq_len is None else item_seq_len
        states = self.final_layer(self.residual_blocks(self.item_embedding(item_seq)))  # [B, L, d]
        return self.gather_indexes(states, length - 1)


class NextItNetAtRealItems(AtRealItems, EveryPositionModel):
    """NextItNet at every position, read at real items."""
