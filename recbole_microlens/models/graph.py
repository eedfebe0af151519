"""The graph of users and items: sums over neighbours, products along edges, never a vector for each edge."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

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
        Where each row begins in `column`; the last is the number of entries.
    column : Tensor [E], int64
    n_columns : int
    """

    row_start: Tensor
    column: Tensor
    row: Tensor
    column_start: Tensor
    row_by_column: Tensor
    entry_by_column: Tensor

    def __init__(self, row_start: Tensor, column: Tensor, n_columns: int):
        super().__init__()
        rows = torch.arange(len(row_start) - 1, device=column.device)
        row = rows.repeat_interleave(row_start.diff(), output_size=len(column))
        by_column = column.argsort(stable=True)
        tensors = {
            "row_start": row_start,
            "column": column,
            "row": row,
            "column_start": F.pad(torch.bincount(column, minlength=n_columns).cumsum(0), (1, 0)),
            "row_by_column": row[by_column],
            "entry_by_column": by_column,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    @classmethod
    def of_edges(cls, row: Tensor, column: Tensor, shape: tuple[int, int]) -> SparsePattern:
        """From the edges' rows [E] and columns [E], in any order; one that is there twice counts twice."""
        order = row.argsort(stable=True)
        row_start = F.pad(torch.bincount(row, minlength=shape[0]).cumsum(0), (1, 0))
        return cls(row_start, column[order], shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.row_start) - 1, len(self.column_start) - 1

    def degree(self) -> Tensor:
        """How many entries each row has, [R]."""
        return self.row_start.diff()

    def rows_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Some of the rows, as ``row_start`` [K + 1] and ``column`` of a smaller pattern."""
        degree = self.degree()[rows]
        row_start = F.pad(degree.cumsum(0), (1, 0))
        shift = (self.row_start[rows] - row_start[:-1]).repeat_interleave(degree)
        return row_start, self.column[torch.arange(len(shift), device=shift.device) + shift]


class Hop(NamedTuple):
    """One step along the edges, from all nodes to all, or to some from those that they need.

    Attributes
    ----------
    pattern : SparsePattern [T, S]
    targets, sources : Tensor [T], [S], or None
        Their nodes, in ascending order. None stands for all nodes.
    own : Tensor [T] or None
        Where the targets stand among the sources.
    """

    pattern: SparsePattern
    targets: Tensor | None = None
    sources: Tensor | None = None
    own: Tensor | None = None


class InteractionGraph(nn.Module):
    """Users and items as nodes, each training interaction an edge in both directions.

    Node ``u`` is user ``u``, node ``n_users + i`` is item ``i``. Users and items without interactions (the
    padding among them) are nodes without edges.

    Parameters
    ----------
    users, items : Tensor [E], int64
        The pairs that make the graph.
    n_users, n_items : int
    """

    degree: Tensor

    def __init__(self, users: Tensor, items: Tensor, n_users: int, n_items: int):
        super().__init__()
        self.n_users, self.n_items = n_users, n_items
        nodes = n_users + n_items
        both = torch.cat([users, items + n_users]), torch.cat([items + n_users, users])
        self.pattern = SparsePattern.of_edges(*both, (nodes, nodes))
        self.register_buffer("degree", self.pattern.degree().float(), persistent=False)

    def whole(self, steps: int) -> list[Hop]:
        """As many hops from all nodes to all."""
        return [Hop(self.pattern)] * steps

    def towards(self, nodes: Tensor, steps: int) -> list[Hop]:
        """The hops that a representation of some nodes depends on, in the order in which they are taken.

        A node's representation after `steps` layers depends on the nodes at most `steps` edges away. What is
        computed on these hops is therefore equal to what :meth:`whole` gives at `nodes`, gradients too.

        Parameters
        ----------
        nodes : Tensor [K], int64
            Ascending and distinct; the targets of the last hop. The sources of a hop are the targets of the
            one before.
        """
        hops: list[Hop] = []
        targets = nodes
        for _ in range(steps):
            row_start, column = self.pattern.rows_of(targets)
            is_source = torch.zeros_like(self.degree, dtype=torch.bool)
            is_source[column] = is_source[targets] = True
            number = is_source.cumsum(0) - 1
            sources = is_source.nonzero()[:, 0]
            pattern = SparsePattern(row_start, number[column], len(sources))
            hops.append(Hop(pattern, targets, sources, number[targets]))
            targets = sources
        return hops[::-1]


def rows(table: Tensor, ids: Tensor | None) -> Tensor:
    """Some rows of a table, or all if `ids` is None."""
    return table if ids is None else table.index_select(0, ids)


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
        exponential = (score - largest[pattern.row]).exp_()
        share = exponential.div_(_row_sums(pattern, exponential)[pattern.row])
        ctx.save_for_backward(share)
        return share

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (share,) = ctx.saved_tensors
        weighted = share * gradient
        return weighted - share * _row_sums(ctx.pattern, weighted)[ctx.pattern.row], None


def _transposed_sum(pattern: SparsePattern, table: Tensor, weight: Tensor | None) -> Tensor:
    by_column = None if weight is None else weight[pattern.entry_by_column]
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
