"""What TorchScript's exporter lacks for the networks here: ``diff``, and ``unflatten`` into traced sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_LAST = 2**63 - 1


@contextmanager
def more_operators(opset: int) -> Iterator[None]:
    """Inside the block the exporter knows them, for files of this opset."""
    for name, symbolic in _OPERATORS.items():
        torch.onnx.register_custom_op_symbolic(name, symbolic, opset)
    try:
        yield
    finally:
        for name in _OPERATORS:
            torch.onnx.unregister_custom_op_symbolic(name, opset)


def _unflatten(graph: Any, value: Any, dim: Any, sizes: Any) -> Any:
    """``value`` reshaped to its own shape with ``sizes`` in the place of one dimension.

    torch's own version takes sizes for a tensor. Frames of a batch, whose number is no constant, come as a
    list of numbers.
    """
    helper = torch.onnx.symbolic_helper
    place, rank = _place(value, dim)
    shape = graph.op("Shape", value)
    each = [sizes]
    if helper._is_packed_list(sizes):
        one = _constant(graph, 1)
        each = [graph.op("Reshape", size, one) for size in helper._unpack_list(sizes)]
    before, after = _slice(graph, shape, 0, place, 0), _slice(graph, shape, place + 1, rank, 0)
    return graph.op("Reshape", value, graph.op("Concat", before, *each, after, axis_i=0))


def _diff(graph: Any, value: Any, n: Any, dim: Any, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along a dimension, once."""
    helper = torch.onnx.symbolic_helper
    if helper._get_const(n, "i", "n") != 1 or not (helper._is_none(prepend) and helper._is_none(append)):
        return helper._unimplemented("diff", "more than one difference, or values before or after", value)
    place, _ = _place(value, dim)
    return graph.op("Sub", _slice(graph, value, 1, _LAST, place), _slice(graph, value, 0, -1, place))


def _place(value: Any, dim: Any) -> tuple[int, int]:
    """A dimension counted from the first, and how many there are."""
    helper = torch.onnx.symbolic_helper
    rank = helper._get_tensor_rank(value)
    return helper._get_const(dim, "i", "dim") % rank, rank


def _slice(graph: Any, value: Any, start: int, end: int, dim: int) -> Any:
    return graph.op("Slice", value, *(_constant(graph, number) for number in (start, end, dim)))


def _constant(graph: Any, number: int) -> Any:
    return graph.op("Constant", value_t=torch.tensor([number]))


_OPERATORS = {"aten::unflatten": _unflatten, "aten::diff": _diff}
