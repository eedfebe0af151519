"""YouTube's recommender as a backbone: the mean of a user's items, a network, a dot product.

A reconstruction: the MicroLens paper (arXiv 2309.15379, section 3.1) names the model and its reference, and
no code of it was published. The reference: Covington, Adams and Sargin, "Deep neural networks for YouTube
recommendations", RecSys 2016, section 3.2; of its inputs the watched videos are here.
"""

from __future__ import annotations

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn
from torch.nn.init import xavier_normal_, zeros_


class YouTube(SequentialRecommender):
    """The state after t items is ``network(mean of their embeddings)``; a score is its product with an item.

    The network is ``n_layers`` linear layers as wide as the embeddings, with ReLU and dropout between. A
    state sees no later item, so that it can be trained at every position.

    Parameters
    ----------
    config : Config
        ``embedding_size`` (d), ``n_layers``, ``dropout_prob``.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        width = config["embedding_size"]
        self.item_embedding = nn.Embedding(self.n_items, width, padding_idx=0)
        hidden = [nn.Linear(width, width) for _ in range(config["n_layers"] - 1)]
        between = [(layer, nn.ReLU(), nn.Dropout(config["dropout_prob"])) for layer in hidden]
        self.network = nn.Sequential(*(part for parts in between for part in parts), nn.Linear(width, width))
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        if isinstance(module, nn.Embedding | nn.Linear):
            xavier_normal_(module.weight)
        if isinstance(module, nn.Linear):
            zeros_(module.bias)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Item ids [B, L], padded on the right, and their number [B] -> the state after the last, [B, d]."""
        embeddings = self.item_embedding(item_seq)  # [B, L, d]
        count = torch.arange(1, item_seq.size(1) + 1, device=item_seq.device).view(1, -1, 1)
        states = self.network(embeddings.cumsum(1) / count)  # [B, L, d]
        return self.gather_indexes(states, item_seq_len - 1)

    def predict(self, interaction) -> Tensor:
        """The score of one item for each user, [B]."""
        states = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return (states * self.item_embedding(interaction[self.ITEM_ID])).sum(1)

    def full_sort_predict(self, interaction) -> Tensor:
        """The scores of all items, [B, n_items]."""
        states = self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
        return states @ self.item_embedding.weight.T
