"""NFM and DeepFM as they are written down: embeddings [B, B (L + 1), L + 1, d] of every field of every pair.

What the factorised models are held against, in tests and in time. The row of padding must be zeros.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from recbole_microlens.models.nfm import NFMID
from recbole_microlens.models.other_items import OtherItemsModel


def fields(model: OtherItemsModel, histories: Tensor, items: Tensor) -> Tensor:
    """Embeddings [B, C, L + 1, d] of the histories [B, L] with each of the items [C]."""
    of_history = histories.unsqueeze(1).expand(-1, len(items), -1)
    of_item = items.view(1, -1, 1).expand(len(histories), -1, 1)
    return model.item_embedding(torch.cat([of_history, of_item], dim=2))


def dense_scores(model: OtherItemsModel, embeddings: Tensor, norm: Callable[[Tensor], Tensor]) -> Tensor:
    """Scores [B, C] from the embeddings of all fields; ``norm`` is NFM's batch norm."""
    products = (embeddings.sum(2).square() - embeddings.square().sum(2)) / 2
    if isinstance(model, NFMID):
        hidden = model.hidden(norm(products.flatten(0, 1))).relu()
        return model.output(hidden).relu().view(products.shape[:2])
    return products.sum(2) + model.output(model.hidden(embeddings.flatten(2)).relu()).squeeze(2)


def dense_loss(
    model: OtherItemsModel, rows: Tensor, log_popularity: Tensor, norm: Callable[[Tensor], Tensor]
) -> Tensor:
    """The in-batch softmax of rows [B, L + 1]: a history, padded on the left, and its target."""
    columns, number = rows.flatten(), torch.arange(len(rows))
    scores = dense_scores(model, fields(model, rows[:, :-1], columns), norm)
    target = number * rows.size(1) + rows.size(1) - 1
    own = (rows.unsqueeze(2) == columns).any(1) | (columns == 0)
    own[number, target] = False
    return F.cross_entropy((scores - log_popularity[columns]).masked_fill(own, -1e4), target)


def batch_norm_of(model: OtherItemsModel) -> Callable[[Tensor], Tensor]:
    """NFM's batch norm with the statistics of the batch; for DeepFM nothing."""
    if not isinstance(model, NFMID):
        return lambda pairs: pairs
    norm = model.norm
    return lambda pairs: F.batch_norm(pairs, None, None, norm.weight, norm.bias, training=True)
