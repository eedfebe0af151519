"""ONNX files in memory: run on the CPU, read for what they take and give, and freed of what is not theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def session(content: bytes) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU that prints nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def described(content: bytes) -> dict[str, Any]:
    """The inputs and outputs of a file with their types and shapes, and its versions of ONNX."""
    import onnx

    model = onnx.load_model_from_string(content)
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return {
        "inputs": [_described(value) for value in model.graph.input],
        "outputs": [_described(value) for value in model.graph.output],
        "opset": opset,
        "ir_version": model.ir_version,
    }


def plain(content: bytes, shapes: Mapping[str, Sequence[str | int]]) -> bytes:
    """A file without what its exporter says of the code, names of source files and traces.

    Parameters
    ----------
    shapes : mapping of str to sequence
        Of each input and output, by name: a word for a dimension of any size.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    _forget_source(model)
    for value in (*model.graph.input, *model.graph.output):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, list(shapes[value.name])))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _forget_source(message: Any) -> None:
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None and field.name != "initializer":
            for each in value if _is_repeated(value) else [value]:
                _forget_source(each)
    for tensor in getattr(message, "initializer", ()):
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")


def _is_repeated(value: Any) -> bool:
    return isinstance(value, Sequence) or not hasattr(value, "ListFields")


def _described(value: Any) -> dict[str, Any]:
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    dims = value.type.tensor_type.shape.dim
    return {
        "name": value.name,
        "dtype": str(np.dtype(kind)),
        "shape": ["batch", *(dim.dim_param or dim.dim_value for dim in dims[1:])],
    }
