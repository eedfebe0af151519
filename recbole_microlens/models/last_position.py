"""Models that are trained as RecBole trains them, as if the items of a batch were the only ones."""

from __future__ import annotations

import torch
from recbole.utils import InputType
from torch import Tensor

from recbole_microlens.losses import log_absence, log_presence
from recbole_microlens.models.batch_items import BatchItemTable, replaced
from recbole_microlens.models.candidate_correction import CandidateSoftmax, UncorrectedSoftmax
from recbole_microlens.models.content_model import ContentModel
from recbole_microlens.models.negatives import with_items_of_all


class LastPositionModel(ContentModel):
    """Mixin for any sequential model of RecBole that keeps its items in ``item_embedding``.

    The stock ``calculate_loss`` runs on RecBole's augmented sequences. For that step the distinct items of
    the batch, each encoded once, are numbered 1 to U, and everything the model has for all items is there for
    these alone: ``item_embedding``, ``n_items``, and the rows of other tables by item. A softmax over all
    items so becomes one over the candidates of the batch, each corrected for the probability that it is among
    them: ``1 - (1 - p)^n`` with p the share of the training samples that contain the item (in their input or
    as their target) and n the samples of the batch; of all processes' batch where the negatives are those of
    all. Under mixed precision the items are encoded in it, and the backbone runs in fp32.

    Class attributes
    ----------------
    item_rows : tuple[str, ...]
        Names of other parameters with a row for each item.

    Attributes
    ----------
    log_absence : Tensor [n_items]
        log(1 - p) of each item.
    """

    item_rows: tuple[str, ...] = ()

    def calculate_loss(self, batch) -> Tensor:
        """The stock model's loss on the items of the batch.

        Parameters
        ----------
        batch : ContentBatch
            :class:`~recbole_microlens.data.dataloader.ContentBatch` with the fields of RecBole's loader.
        """
        item_ids, embeddings = self._candidates(batch)
        kept = torch.cat([item_ids.new_zeros(1), item_ids])  # [U + 1]
        of_batch = self._of_batch(embeddings, kept)
        correction = CandidateSoftmax(self._log_presence(batch, kept), _tables(of_batch))
        # RecBole wrote these for fp32: some mask with -1e9 or mix types. The encoder is where precision pays.
        in_fp32 = torch.autocast(kept.device.type, enabled=False)
        with replaced(self, of_batch), in_fp32, correction:
            loss = super().calculate_loss(batch.renumbered(item_ids))
        if self._normalises_over_items() and not correction.applied:
            raise UncorrectedSoftmax(
                f"{type(self).__name__}: its loss is over all items, but no softmax over the items of the "
                "batch was seen, so that none could be corrected for the items that are not in the batch. "
                "Write it with cross_entropy, log_softmax or softmax of scores from `item_embedding.weight`."
            )
        return loss

    def n_targets(self, batch) -> int:
        """Over how many targets the loss of a batch is a mean."""
        return len(batch)

    def _candidates(self, batch) -> tuple[Tensor, Tensor]:
        """The items that the loss is over, [U], and their embeddings, [U, d]."""
        embeddings = self.item_embedding.encode(batch.media).float()
        if self.negatives == "global":
            return with_items_of_all(batch.media.item_ids, embeddings)
        return batch.media.item_ids, embeddings

    def _of_batch(self, embeddings: Tensor, kept: Tensor) -> dict[str, object]:
        """The replacements of the model's attributes for the items of a batch, by name."""
        rows = [embeddings.new_zeros(1, embeddings.size(1)), embeddings]
        if hasattr(self.item_embedding, "extra"):
            rows.append(self.item_embedding.extra)
        table = BatchItemTable(torch.cat(rows), getattr(self.item_embedding, "bias", None))
        shared = [name for name, module in self._modules.items() if module is self.item_embedding]
        values: dict[str, object] = {"n_items": len(kept), **dict.fromkeys(shared, table)}
        values |= {name: self.get_parameter(name)[kept] for name in self._own_item_rows()}
        if hasattr(self, "reranker_CAN_NUM"):
            values["reranker_CAN_NUM"] = [min(count, len(kept)) for count in self.reranker_CAN_NUM]
        return values

    def _own_item_rows(self) -> list[str]:
        """The names of ``item_rows``; a table that the model shares with ``item_embedding`` is replaced."""
        owners = {name: name.rpartition(".")[0] for name in self.item_rows}
        return [
            name for name, owner in owners.items() if self.get_submodule(owner) is not self.item_embedding
        ]

    def _count(self, dataset) -> None:
        counts = dataset.samples_with_item()
        self.register_buffer("log_absence", log_absence(counts, len(dataset)), persistent=False)

    def _log_presence(self, batch, kept: Tensor) -> Tensor:
        """Log of the probability that each candidate is among the candidates, [U + 1]."""
        n_samples = batch.n_samples if self.negatives == "global" else len(batch)
        return log_presence(self.log_absence[kept], n_samples)

    def _normalises_over_items(self) -> bool:
        """Is the loss a softmax over all items, as far as its settings tell? Else it compares pairs."""
        loss_type = getattr(self, "loss_type", None)
        if loss_type is None:
            return getattr(self, "input_type", None) != InputType.PAIRWISE
        return loss_type != "BPR"


def _tables(of_batch: dict[str, object]) -> list[Tensor]:
    """What of a batch's values has a row for each candidate."""
    tables = [value.weight for value in of_batch.values() if isinstance(value, BatchItemTable)]
    return tables[:1] + [value for value in of_batch.values() if isinstance(value, Tensor)]


class MaskedItemModel(LastPositionModel):
    """BERT4Rec: it predicts masked items, of which a small batch may have none."""

    def calculate_loss(self, batch) -> Tensor:
        """As the stock model's; 0 where it would divide by the number of masked items, zero.

        RecBole counts no mask at position 0.
        """
        if not (batch[self.MASK_INDEX] > 0).any():
            return self._candidates(batch)[1].sum() * 0.0
        return super().calculate_loss(batch)

    def n_targets(self, batch) -> int:
        """Over how many masked items the loss of a batch is a mean."""
        return int((batch[self.MASK_INDEX] > 0).sum())
