"""Sparse products whose values have gradients too: sums along edges, and never a vector for each edge."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class SparsePattern(nn.Module):
    """Which entries a sparse matrix [R, C] has; its values come with each product.

    An entry is an edge from its column, the source, to its row, the target. Entries are numbered by rows.
    Nothing of this is in a checkpoint, since it follows from the data.

    Parameters
    ----------
    row_start : Tensor [R + 1], int64
        Where each row begins among the entries; the last is their number, E.
    row, column : Tensor [E], int64
        Of each entry.
    column_start : Tensor [C + 1], int64
        Where each column begins in the next two.
    row_by_column, entry_by_column : Tensor [E], int64
        The rows, and the numbers, of the entries ordered by columns.
    """

    row_start: Tensor
    row: Tensor
    column: Tensor
    column_start: Tensor
    row_by_column: Tensor
    entry_by_column: Tensor

    def __init__(self, **tensors: Tensor):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @classmethod
    def of_edges(cls, row: Tensor, column: Tensor, shape: tuple[int, int]) -> SparsePattern:
        """From the edges' rows [E] and columns [E], in any order; one that is there twice counts twice."""
        order = row.argsort(stable=True)
        row, column = row[order], column[order]
        by_column = column.argsort(stable=True)
        return cls(
            row_start=F.pad(torch.bincount(row, minlength=shape[0]).cumsum(0), (1, 0)),
            row=row,
            column=column,
            column_start=F.pad(torch.bincount(column, minlength=shape[1]).cumsum(0), (1, 0)),
            row_by_column=row[by_column],
            entry_by_column=by_column,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.row_start) - 1, len(self.column_start) - 1

    def degree(self) -> Tensor:
        """How many entries each row has, [R]."""
        return self.row_start.diff()

    def entries_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The columns of some rows [K], one row after the other, and where each begins, [K + 1]."""
        degree = self.degree()[rows]
        start = F.pad(degree.cumsum(0), (1, 0))
        shift = (self.row_start[rows] - start[:-1]).repeat_interleave(degree)
        entry = torch.arange(len(shift), device=rows.device) + shift
        return self.column.index_select(0, entry), start

    def rows_of(self, rows: Tensor) -> SparsePattern:
        """Some distinct rows [K], as a pattern [K, C]."""
        column, row_start = self.entries_of(rows)
        numbers = torch.arange(len(rows), device=rows.device)
        shift = self.row_start[rows] - row_start[:-1]
        number = torch.full_like(self.row_start[1:], -1)
        number[rows] = numbers
        new_row = number.index_select(0, self.row_by_column)
        is_kept = new_row >= 0
        kept = is_kept.nonzero()[:, 0]
        row_by_column = new_row.index_select(0, kept)
        return SparsePattern(
            row_start=row_start,
            row=numbers.repeat_interleave(row_start.diff(), output_size=len(column)),
            column=column,
            column_start=F.pad(is_kept.cumsum(0), (1, 0)).index_select(0, self.column_start),
            row_by_column=row_by_column,
            entry_by_column=self.entry_by_column.index_select(0, kept) - shift.index_select(0, row_by_column),
        )

    def columns_of(self, columns: Tensor, number: Tensor) -> SparsePattern:
        """The same entries in a narrower pattern [R, K].

        Parameters
        ----------
        columns : Tensor [K], int64
            In ascending order, all columns with entries among them.
        number : Tensor [C], int64
            The new number of each of these columns.
        """
        tensors = dict(self.named_buffers())
        tensors["column"] = number.index_select(0, self.column)
        tensors["column_start"] = torch.cat([self.column_start[columns], self.column_start[-1:]])
        return SparsePattern(**tensors)


def sum_over_edges(pattern: SparsePattern, table: Tensor, weight: Tensor | None = None) -> Tensor:
    """For each row, the sum of its columns' rows of a table: the product of a sparse matrix and a dense one.

    Parameters
    ----------
    pattern : SparsePattern [R, C]
    table : Tensor [C, d]
    weight : Tensor [E], optional
        A factor for each entry; gradients flow to it as well. Without one, each counts as 1.

    Returns
    -------
    Tensor [R, d]
        Zero for a row without entries.
    """
    if weight is not None:
        table = table.to(weight.dtype)
    return _SumOverEdges.apply(weight, table, pattern)


def mean_over_edges(pattern: SparsePattern, table: Tensor) -> Tensor:
    """For each row, the mean of its columns' rows of a table [C, d]; zero where there are none, [R, d]."""
    share = 1 / pattern.degree().to(table.dtype)
    return sum_over_edges(pattern, table, share.index_select(0, pattern.row))


def edge_products(pattern: SparsePattern, targets: Tensor, sources: Tensor) -> Tensor:
    """For each entry, the dot product of its row of `targets` [R, d] and its column of `sources` [C, d].

    Returns
    -------
    Tensor [E]
    """
    return _EdgeProducts.apply(targets, sources, pattern)


def softmax_over_edges(pattern: SparsePattern, score: Tensor) -> Tensor:
    """Scores of the entries [E], normalised by softmax over the entries of each row."""
    return _SoftmaxOverEdges.apply(score, pattern)


class _SumOverEdges(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor | None, table: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(weight, table if ctx.needs_input_grad[0] else None)
        return _bags(pattern.row_start, pattern.column, table, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        weight, table = ctx.saved_tensors
        pattern = ctx.pattern
        of_weight = _products(pattern, gradient, table) if ctx.needs_input_grad[0] else None
        of_table = None
        if ctx.needs_input_grad[1]:
            of_table = _transposed_sum(pattern, gradient, weight)
        return of_weight, of_table, None


class _EdgeProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, targets: Tensor, sources: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.pattern = pattern
        ctx.save_for_backward(targets, sources)
        return _products(pattern, targets, sources)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        targets, sources = ctx.saved_tensors
        pattern = ctx.pattern
        of_targets = of_sources = None
        if ctx.needs_input_grad[0]:
            of_targets = _bags(pattern.row_start, pattern.column, sources, gradient)
        if ctx.needs_input_grad[1]:
            of_sources = _transposed_sum(pattern, targets, gradient)
        return of_targets, of_sources, None


class _SoftmaxOverEdges(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, score: Tensor, pattern: SparsePattern) -> Tensor:
        ctx.pattern = pattern
        largest = torch.segment_reduce(score, "max", offsets=pattern.row_start)
        exponential = (score - largest.index_select(0, pattern.row)).exp_()
        share = exponential.div_(_row_sums(pattern, exponential).index_select(0, pattern.row))
        ctx.save_for_backward(share)
        return share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (share,) = ctx.saved_tensors
        weighted = share * gradient
        of_row = _row_sums(ctx.pattern, weighted).index_select(0, ctx.pattern.row)
        return weighted.addcmul_(share, of_row, value=-1), None


def _transposed_sum(pattern: SparsePattern, table: Tensor, weight: Tensor | None) -> Tensor:
    by_column = None if weight is None else weight.index_select(0, pattern.entry_by_column)
    return _bags(pattern.column_start, pattern.row_by_column, table, by_column)


def _bags(start: Tensor, index: Tensor, table: Tensor, weight: Tensor | None) -> Tensor:
    """Sums over neighbours. Of the kernels that torch has for this product, bags are the fastest on CPUs."""
    return F.embedding_bag(
        index, table.contiguous(), start, mode="sum", per_sample_weights=weight, include_last_offset=True
    )


def _products(pattern: SparsePattern, targets: Tensor, sources: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support is in beta.*")
        entries = torch.sparse_csr_tensor(
            pattern.row_start,
            pattern.column,
            targets.new_zeros(len(pattern.column)),
            pattern.shape,
            check_invariants=False,
        )
    return torch.sparse.sampled_addmm(entries, targets, sources.T, beta=0.0).values()


def _row_sums(pattern: SparsePattern, values: Tensor) -> Tensor:
    return torch.segment_reduce(values, "sum", offsets=pattern.row_start)
