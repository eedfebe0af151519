"""DeepFMID: pairwise products and a network, both on a candidate and a user's items.

Guo et al., "DeepFM: a factorization-machine based neural network for CTR prediction", IJCAI 2017, as the
released code of MicroLens (arXiv 2309.15379) has it. With e the embeddings of the L items of a history and of
the candidate:

    score = sum over d of ((sum e)^2 - sum e^2) / 2  +  w . ReLU(W [e_1; ...; e_L; e_candidate]) + c

There is no first-order term. W [d, (L + 1) d] is a part for the history and one for the candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_microlens.models.other_items import OtherItemsModel, pair_blocks, sum_and_interactions


class DeepFMID(OtherItemsModel):
    """The sum of all products of two of a user's items and the candidate, plus a network on these items.

    Of a pair of history and candidate only the sum of two vectors of d numbers and its ReLU are computed,
    block by block; nothing of that size is kept.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.hidden = nn.Linear((self.max_seq_length + 1) * self.width, self.width, bias=False)
        self.output = nn.Linear(self.width, 1)
        for layer in (self.hidden, self.output):
            nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(self.output.bias)
        self._item_table: Tensor | None = None

    def train(self, mode: bool = True):
        """As torch's; the table of an evaluation is dropped."""
        self._item_table = None
        return super().train(mode)

    def training_scores(self, histories: Tensor, candidates: Tensor, times: Tensor) -> Tensor:
        items = self.item_embedding(candidates)
        return self._scores(*self._of_histories(histories), items, self._hidden_of_items(items))

    def full_sort_predict(self, interaction) -> Tensor:
        """Scores of all items, [B, n_items]."""
        items = self.item_embedding.weight
        if self._item_table is None or self.training:
            self._item_table = self._hidden_of_items(items)
        return self._scores(*self._of_histories(self.histories(interaction)), items, self._item_table)

    def predict(self, interaction) -> Tensor:
        """The score of each pair of history and item, [B]."""
        total, constant, hidden = self._of_histories(self.histories(interaction))
        items = self.item_embedding(interaction[self.ITEM_ID])
        deep = self.output((hidden + self._hidden_of_items(items)).relu()).squeeze(1)
        return constant + (total * items).sum(1) + deep

    def _of_histories(self, histories: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The sum [B, d], the FM part that no candidate changes [B], and the history's part of W [B, d]."""
        embeddings = self.embedded(histories)
        total, interactions = sum_and_interactions(embeddings)
        return total, interactions.sum(1), embeddings.flatten(1) @ self.hidden.weight[:, : -self.width].T

    def _hidden_of_items(self, items: Tensor) -> Tensor:
        return items @ self.hidden.weight[:, -self.width :].T

    def _scores(self, total, constant, of_history, items, of_items) -> Tensor:
        deep = _ReluOfSums.apply(of_history, of_items, self.output.weight.squeeze(0))
        return total @ items.T + constant.unsqueeze(1) + deep + self.output.bias


class _ReluOfSums(torch.autograd.Function):
    """``w . ReLU(P[row] + R[column])`` of every pair, block by block; the gradient computes the sums again.

    With g the gradient of a score and m = 1 where a sum is above 0, P has ``w`` times the sum of
    ``g m`` over columns, R that over rows; w the sum of ``g m (P + R)``, which follows from both.
    """

    @staticmethod
    def forward(ctx, of_history, of_items, weight):
        scores = of_history.new_empty(len(of_history), len(of_items))
        for rows, columns in pair_blocks(scores.shape, of_items):
            scores[rows, columns] = (of_history[rows].unsqueeze(1) + of_items[columns]).relu_() @ weight
        ctx.save_for_backward(of_history, of_items, weight)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        of_history, of_items, weight = ctx.saved_tensors
        by_row, by_column = torch.zeros_like(of_history), torch.zeros_like(of_items)
        for rows, columns in pair_blocks(gradient.shape, of_items):
            is_positive = of_history[rows].unsqueeze(1) > -of_items[columns]
            signed = is_positive * gradient[rows, columns].unsqueeze(2)
            by_row[rows] += signed.sum(1)
            by_column[columns] += signed.sum(0)
        of_weight = (of_history * by_row).sum(0) + (of_items * by_column).sum(0)
        return by_row * weight, by_column * weight, of_weight
