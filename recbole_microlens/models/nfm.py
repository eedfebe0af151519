"""NFMID: a network on the sum of pairwise products of a candidate and a user's items.

He and Chua, "Neural factorization machines for sparse predictive analytics", SIGIR 2017, as the released code
of MicroLens (arXiv 2309.15379) has it. With e the embeddings of the history h and of the candidate i:

    b = ((sum e)^2 - sum e^2) / 2 = FM(h) + (sum of h) * i      [d]
    score = ReLU(w . ReLU(W batchnorm(b) + c) + c')

Batch norm takes its statistics over all pairs of a row and a column of the batch, padding among the columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from recbole_microlens.models.other_items import OtherItemsModel, pair_blocks, sum_and_interactions

_MOMENTUM = 0.1  # torch's, of batch norm's running statistics


class NFMID(OtherItemsModel):
    """A network on the sum of all products of two of a user's items and the candidate.

    After batch norm a pair is linear in the candidate, ``A[row] + Q[row] * e[column]``, and the statistics
    follow from the moments of each: no tensor has an entry for each pair and each field, and only the signs
    of one layer are kept for each pair and dimension.
    """

    def __init__(self, config, dataset):
        super().__init__(config, dataset)
        self.norm = nn.BatchNorm1d(self.width)
        self.hidden = nn.Linear(self.width, self.width)
        self.output = nn.Linear(self.width, 1)
        for layer in (self.hidden, self.output):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def training_scores(self, histories: Tensor, candidates: Tensor, times: Tensor) -> Tensor:
        total, interactions = sum_and_interactions(self.embedded(histories))  # [B, d] each
        items = self.item_embedding(candidates)  # [D, d]
        columns = histories.numel() + len(histories)
        mean, variance = pair_moments(interactions, total, items, times / columns)
        self._remember(mean.detach(), variance.detach(), len(histories) * columns)
        return self._scores(*self._normalised(interactions, total, mean, variance), items)

    def full_sort_predict(self, interaction) -> Tensor:
        """Scores of all items, [B, n_items]; 0 for every item that the last ReLU cuts off."""
        return self._scores(*self._of_users(interaction), self.item_embedding.weight)

    def predict(self, interaction) -> Tensor:
        """The score of each pair of history and item, [B]."""
        constant, slope = self._of_users(interaction)
        pairs = constant + slope * self.item_embedding(interaction[self.ITEM_ID])
        return self.output(self.hidden(pairs).relu()).relu().squeeze(1)

    def _of_users(self, interaction) -> tuple[Tensor, Tensor]:
        total, interactions = sum_and_interactions(self.embedded(self.histories(interaction)))
        return self._normalised(
            interactions, total, *map(self.norm.get_buffer, ("running_mean", "running_var"))
        )

    def _normalised(
        self, interactions: Tensor, total: Tensor, mean: Tensor, variance: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The two parts of a pair after batch norm: the constant A and the slope Q, [B, d] each."""
        scale = self.norm.weight / (variance + self.norm.eps).sqrt()
        return (interactions - mean) * scale + self.norm.bias, total * scale

    def _scores(self, constant: Tensor, slope: Tensor, items: Tensor) -> Tensor:
        layers = self.hidden.weight, self.hidden.bias, self.output.weight.squeeze(0), self.output.bias
        return _Network.apply(constant, slope, items, *layers)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, pairs: int) -> None:
        """Move the running statistics as batch norm does: the variance without bias."""
        unbiased = variance * (pairs / max(pairs - 1, 1))
        self.norm.get_buffer("running_mean").lerp_(mean, _MOMENTUM)
        self.norm.get_buffer("running_var").lerp_(unbiased, _MOMENTUM)
        self.norm.get_buffer("num_batches_tracked").add_(1)


def pair_moments(constant: Tensor, slope: Tensor, items: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of ``constant[r] + slope[r] * item[c]`` over all rows r and columns c.

    With m and v the mean and variance of the columns, the mean of row r is ``constant[r] + slope[r] * m``;
    the variance is that of these means plus the mean of ``slope^2 v``. No term cancels another.

    Parameters
    ----------
    constant, slope : Tensor [B, d]
    items : Tensor [D, d]
        The distinct items of the columns.
    shares : Tensor [D]
        The share of the columns that each has; what is missing from 1 is columns of zeros.

    Returns
    -------
    Tensor [d], Tensor [d]
        The variance divides by the number of pairs.
    """
    shares = shares.to(items.dtype)
    column_mean = items.T @ shares
    column_variance = (items - column_mean).square().T @ shares + (1 - shares.sum()) * column_mean.square()
    row_means = constant + slope * column_mean
    variance = row_means.var(0, unbiased=False) + slope.square().mean(0) * column_variance
    return row_means.mean(0), variance


class _Network(torch.autograd.Function):
    """``ReLU(w . ReLU(W x + c) + c')`` of every pair ``x = A[row] + Q[row] * e[column]``, block by block.

    For the gradient only the signs of ``W x + c`` are kept, and only of pairs whose score is above 0, as no
    other pair has one. With g the gradient of a score and m = 1 where ``W x + c`` is above 0, the sum M of
    ``(g m) x^T`` over the pairs gives both layers: the gradient of W is ``diag(w) M``, that of w the sum of
    each row of ``W * M``, plus the part of c.
    """

    @staticmethod
    def forward(ctx, constant, slope, items, weight, bias, out_weight, out_bias):
        scores = constant.new_empty(len(constant), len(items))
        ctx.blocks = pair_blocks(scores.shape, items)
        needs_gradient, signs = any(ctx.needs_input_grad), []
        for rows, columns in ctx.blocks:
            pairs = torch.addcmul(constant[rows].unsqueeze(1), slope[rows].unsqueeze(1), items[columns])
            hidden = torch.addmm(bias, pairs.flatten(0, 1), weight.T).relu_()
            scores[rows, columns] = block = (hidden @ out_weight + out_bias).relu_().view(pairs.shape[:2])
            if needs_gradient:
                signs.append(hidden[(block > 0).flatten()] > 0)
        if needs_gradient:
            ctx.save_for_backward(constant, slope, items, weight, bias, out_weight, scores, *signs)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        constant, slope, items, weight, bias, out_weight, scores, *signs = ctx.saved_tensors
        of_constant, of_slope, of_items = map(torch.zeros_like, (constant, slope, items))
        products, of_hidden = torch.zeros_like(weight), torch.zeros_like(bias)
        for (rows, columns), positive in zip(ctx.blocks, signs, strict=True):
            row, column = (scores[rows, columns] > 0).nonzero(as_tuple=True)
            row, column = row + rows.start, column + columns.start
            signed = positive * gradient[row, column].unsqueeze(1)  # [n, d]
            item, factor = items[column], slope[row]
            products.addmm_(signed.T, torch.addcmul(constant[row], factor, item))
            of_hidden += signed.sum(0)
            of_pairs = signed.mul_(out_weight) @ weight
            of_constant.index_add_(0, row, of_pairs)
            of_slope.index_add_(0, row, of_pairs * item)
            of_items.index_add_(0, column, of_pairs * factor)
        return (
            of_constant,
            of_slope,
            of_items,
            products * out_weight.unsqueeze(1),
            of_hidden * out_weight,
            (weight * products).sum(1) + bias * of_hidden,
            gradient[scores > 0].sum().view(1),
        )
