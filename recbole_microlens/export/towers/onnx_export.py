"""A module as an ONNX file that is known to be equal to it: exported, run by onnxruntime, compared."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from logging import getLogger
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.errors import MicroLensError, first_line, is_out_of_memory
from recbole_microlens.export.contract import TOLERANCE, difference
from recbole_microlens.export.towers.onnx_file import plain, session
from recbole_microlens.export.towers.quiet import quiet
from recbole_microlens.export.towers.torchscript_ops import more_operators

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18
BATCHES = (1, 2, 7)
_LONGEST_REASON = 200
_PAINT = re.compile(r"\x1b\[[0-9;]*m")


class RefusedError(MicroLensError):
    """There is no such tower, and why."""


@dataclass(frozen=True)
class Case:
    """Inputs of a module by place, and what it gives for them.

    Attributes
    ----------
    inputs, expected : tuple of Tensor
        [B, ...] each.
    lengths : Tensor [B], int64, optional
        How far the sequences of each row are more than padding.
    """

    inputs: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]
    lengths: Tensor | None = None


@dataclass(frozen=True)
class Tower:
    """A module to export, and what its file is compared with.

    Attributes
    ----------
    module : nn.Module
        In eval mode, on the CPU.
    inputs, outputs : tuple of str
        Their names, by place.
    cases : tuple of Case
        Of each size in :data:`BATCHES` at least one.
    tried_on : tuple of str
        What the cases are, in words.
    sequences : tuple of str
        Inputs whose second axis is a length, padded on the right; it may be shorter where that changes
        nothing.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    cases: tuple[Case, ...]
    tried_on: tuple[str, ...]
    sequences: tuple[str, ...] = ()

    @property
    def longest(self) -> int | None:
        """The length of the sequences of all cases."""
        if not self.sequences:
            return None
        return self.cases[0].inputs[self.inputs.index(self.sequences[0])].size(1)


@dataclass(frozen=True)
class Exported:
    """An ONNX file in memory that is equal to its module.

    Attributes
    ----------
    content : bytes
    exporter : {'torchscript', 'dynamo'}
    takes_shorter : bool
        Whether sequences may be shorter than the longest.
    """

    content: bytes
    exporter: str
    takes_shorter: bool


def require_packages() -> None:
    """Raise a :class:`MicroLensError` that says what to type where a package is missing."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise MicroLensError(
            f"ONNX files need {', '.join(missing)}, which is not installed. Run: pip install "
            "'recbole-microlens[onnx]', or leave them out: --no-onnx."
        )


def exported(tower: Tower) -> Exported:
    """A tower as ONNX, by the first exporter whose file gives what the module gives, for all cases.

    TorchScript's exporter comes first: it takes more of the networks here, and a tenth of the time.

    Raises
    ------
    RefusedError
        No file is equal, with the reason of the last one.
    """
    reasons: dict[str, str] = {}
    for exporter, takes_shorter in _attempts(tower):
        with quiet() as said, torch.no_grad():
            try:
                content = plain(_EXPORTERS[exporter](tower, takes_shorter), _shapes(tower, takes_shorter))
                reason = _reason_against(content, tower, takes_shorter)
            except Exception as error:  # an exporter may raise whatever the network brings it to
                if is_out_of_memory(error):
                    raise
                reason = f"{type(error).__name__}: {_one_line(error)}"
            printed = said()
        if reason is None:
            return Exported(content, exporter, takes_shorter)
        getLogger().debug(f"{exporter}, shorter sequences {takes_shorter}: {reason}\n{printed}")
        reasons[exporter] = reason
    said_by_each = "; ".join(f"{exporter}: {reason}" for exporter, reason in reasons.items())
    raise RefusedError(
        f"no exporter of torch {torch.__version__} gives a file that is equal ({said_by_each})"
    )


def _attempts(tower: Tower) -> list[tuple[str, bool]]:
    shorter = [("torchscript", True)] if tower.sequences and (tower.longest or 0) > 1 else []
    return [*shorter, ("torchscript", False), ("dynamo", False)]


def _by_torchscript(tower: Tower, takes_shorter: bool) -> bytes:
    names = (*tower.inputs, *tower.outputs)
    axes: Mapping[str, Mapping[int, str]] = {
        name: {0: "batch"} | ({1: "length"} if takes_shorter and name in tower.sequences else {})
        for name in names
    }
    file = io.BytesIO()
    with more_operators(OPSET):
        torch.onnx.export(
            tower.module,
            _sample(tower),
            file,
            input_names=tower.inputs,
            output_names=tower.outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def _by_dynamo(tower: Tower, takes_shorter: bool) -> bytes:
    program: Any = torch.onnx.export(
        tower.module,
        _sample(tower),
        input_names=tower.inputs,
        output_names=tower.outputs,
        dynamic_shapes=_dynamic_batches(tower),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    return program.model_proto.SerializeToString()


_EXPORTERS: dict[str, Callable[[Tower, bool], bytes]] = {
    "torchscript": _by_torchscript,
    "dynamo": _by_dynamo,
}


def _dynamic_batches(tower: Tower) -> tuple:
    each = tuple({0: torch.export.Dim.DYNAMIC} for _ in tower.inputs)
    return (each,) if _takes_any_number(tower.module) else each


def _takes_any_number(module: nn.Module) -> bool:
    """Whether ``forward`` is written with ``*inputs``, which are then one argument to torch.export."""
    return bool(module.forward.__code__.co_flags & 0x04)


def _shapes(tower: Tower, takes_shorter: bool) -> dict[str, list[str | int]]:
    case = tower.cases[0]
    tensors = zip((*tower.inputs, *tower.outputs), (*case.inputs, *case.expected), strict=True)
    found: dict[str, list[str | int]] = {name: ["batch", *tensor.shape[1:]] for name, tensor in tensors}
    for name in tower.sequences if takes_shorter else ():
        found[name][1] = "length"
    return found


def _sample(tower: Tower) -> tuple[Tensor, ...]:
    """Inputs to trace with; a batch of one would be taken for a constant."""
    return next(case.inputs for case in tower.cases if len(case.inputs[0]) > 1)


def _reason_against(content: bytes, tower: Tower, takes_shorter: bool) -> str | None:
    """Why a file is not equal to its module; ``None`` if it is."""
    run = session(content)
    worst = 0.0
    for case in _cases(tower, takes_shorter):
        given = {name: value.numpy() for name, value in zip(tower.inputs, case.inputs, strict=True)}
        found = run.run(list(tower.outputs), given)
        pairs = zip(found, case.expected, strict=True)
        worst = max(worst, *(difference(one, other.numpy()) for one, other in pairs))
    if worst <= TOLERANCE:
        return None
    return f"it differs by up to {worst:.1e} of the largest number of a vector, {TOLERANCE:g} is allowed"


def _cases(tower: Tower, takes_shorter: bool) -> Iterator[Case]:
    yield from tower.cases
    if takes_shorter and tower.longest:
        for case in tower.cases:
            yield from _cut(tower, case, tower.longest // 2)


def _cut(tower: Tower, case: Case, length: int) -> Iterator[Case]:
    """The rows whose sequences fit into a length, cut to it."""
    assert case.lengths is not None
    rows = (case.lengths <= length).nonzero()[:, 0]
    if not len(rows):
        return
    inputs = tuple(
        value[rows, :length] if name in tower.sequences else value[rows]
        for name, value in zip(tower.inputs, case.inputs, strict=True)
    )
    yield Case(inputs, tuple(value[rows] for value in case.expected), case.lengths[rows])


def _one_line(error: Exception) -> str:
    line = _PAINT.sub("", first_line(error)).strip().rstrip(".")
    return line if len(line) <= _LONGEST_REASON else f"{line[:_LONGEST_REASON]}..."
