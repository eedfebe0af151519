"""What NFM and DeepFM share: a user is the set of their other items, a candidate is scored with these.

Source: the released code of MicroLens (arXiv 2309.15379), described in the documentation, *Baselines*.
"""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn

from recbole_microlens.data.other_items import OtherItemsDataset
from recbole_microlens.losses import log_popularity, softmax_of_columns
from recbole_microlens.models.baseline_model import Baseline

# Bytes of a block of pairs: what a CPU's cache holds, and enough to keep a GPU busy.
_BLOCK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}


class OtherItemsModel(Baseline, SequentialRecommender):
    """Base of models that score a candidate item with a history of up to L items, without a user embedding.

    A training sample is a target and the user's other training items (:class:`OtherItemsDataset`). The
    candidates of a batch are the items of all its rows, histories and targets; the loss is the in-batch
    softmax corrected for popularity. In rankings the history is the user's latest L items.

    Class attributes
    ----------------
    dataset_mixin : type
        What makes the samples, see :func:`~recbole_microlens.data.dataset.create_dataset`.
    users_ranked_at_once : int
        A ranking takes no more users in a batch: every pair of user and item goes through a network.
    """

    input_type = InputType.POINTWISE
    dataset_mixin = OtherItemsDataset
    users_ranked_at_once = 32

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.width = config["embedding_size"]
        self.item_embedding = nn.Embedding(self.n_items, self.width, padding_idx=0)
        nn.init.xavier_normal_(self.item_embedding.weight)
        self.register_buffer("log_popularity", log_popularity(dataset.popularity), persistent=False)

    def calculate_loss(self, interaction) -> Tensor:
        """In-batch softmax over the items of the batch, see :func:`softmax_of_columns`.

        Parameters
        ----------
        interaction : Interaction
            RecBole's fields: history [B, L] padded on the right, its length [B], the target [B].
        """
        histories, targets = self.histories(interaction), interaction[self.ITEM_ID]
        rows = torch.cat([histories, targets.unsqueeze(1)], dim=1)  # [B, L + 1]
        candidates, times = rows[rows != 0].unique(return_counts=True)  # [D], [D]
        with torch.autocast(rows.device.type, enabled=False):
            scores = self.training_scores(histories, candidates, times)
            return softmax_of_columns(scores, candidates, times, rows, self.log_popularity)

    def training_scores(self, histories: Tensor, candidates: Tensor, times: Tensor) -> Tensor:
        """Scores of all candidates with each history of a training batch.

        Parameters
        ----------
        histories : Tensor [B, L], int64
            Padded on the left.
        candidates, times : Tensor [D], int64
            The distinct items of the batch, and how often each is in its histories and targets.

        Returns
        -------
        Tensor [B, D]
        """
        raise NotImplementedError

    def histories(self, interaction) -> Tensor:
        """The items of each history [B, L], padded on the left: the newest is always the last."""
        items, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        place = torch.arange(items.size(1), device=items.device) - (items.size(1) - length).unsqueeze(1)
        return items.gather(1, place.clamp(min=0)).masked_fill(place < 0, 0)

    def embedded(self, histories: Tensor) -> Tensor:
        """Embeddings [B, L, d] of histories [B, L]; padding is zeros, whatever its row of the table."""
        return self.item_embedding(histories) * (histories != 0).unsqueeze(2)


def sum_and_interactions(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of some embeddings, and the sum of the products of each two: ``((sum e)^2 - sum e^2) / 2``.

    Parameters
    ----------
    embeddings : Tensor [B, L, d]

    Returns
    -------
    Tensor [B, d], Tensor [B, d]
        With one more embedding i the second becomes itself plus the first times i.
    """
    total = embeddings.sum(1)
    return total, (total.square() - embeddings.square().sum(1)) / 2


def pair_blocks(shape: torch.Size, items: Tensor) -> list[tuple[slice, slice]]:
    """Blocks of a grid of pairs, so that d numbers for each pair of a block stay in a block's bytes.

    Parameters
    ----------
    shape : torch.Size
        Rows and columns of the grid. Rows are cut only where one of them is more than a block.
    items : Tensor [columns, d]
        Of the type and on the device of what is computed for a pair.
    """
    rows, columns = shape
    limit = _BLOCK_BYTES.get(items.device.type, _BLOCK_BYTES["cpu"])
    pairs = max(limit // (items.size(1) * items.element_size()), 1)
    down, across = max(pairs // max(columns, 1), 1), max(min(pairs, columns), 1)
    return [
        (slice(row, min(row + down, rows)), slice(column, min(column + across, columns)))
        for row in range(0, rows, down)
        for column in range(0, columns, across)
    ]
