"""The parts of a network nobody wrote a row for: its layers, what is used before them, after them, never.

The network is run once, on torch's meta device without memory; which parameters a result depends on is read
from its gradient graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.transformers_walk import LayerWalk

if TYPE_CHECKING:
    from recbole_microlens.encoders.transformers_spec import TransformersSpec

_CLASS_TOKENS = (
    "cls_token", "class_token", "class_embedding", "distillation_token", "register_tokens", "cls_embedding",
)  # fmt: skip


@dataclass(frozen=True)
class Anatomy:
    """What a run of the network shows.

    Attributes
    ----------
    layers, layer_outputs, stages, unused : fields of the row of the same names.
    feature_dim : channels of what the network returns.
    returns_tokens : it returns tokens [N, L, C], not maps [N, C, H, W] or features [N, C].
    n_class : tokens before the patches.
    """

    layers: str
    layer_outputs: int
    stages: tuple[tuple[str, ...], ...]
    unused: tuple[str, ...]
    feature_dim: int
    returns_tokens: bool
    n_class: int


def dissect(spec: TransformersSpec, network: nn.Module, content: Tensor) -> Anatomy:
    """Find the parts of a network.

    Parameters
    ----------
    spec : the row as far as it is known; its stages and layers are not read.
    network : the network, on any device.
    content : the network's input on the same device, of one item.
    """
    layers = _list_of_layers(network)
    path = f"{layers}." if layers else "\0"
    outside = {name: p for name, p in network.named_parameters() if not name.startswith(path)}
    whole = replace(spec, layers="", stages=(("",),))
    inside = {name: p for name, p in network.named_parameters() if name.startswith(path)}
    with _Calls(network, layers) as calls:
        output = LayerWalk(whole, network)(content, 0, 1)
    states = output[0] if isinstance(output, list) else output
    used = _reached(states, outside | inside)
    below = set(outside)
    if layers:
        n_layers = len(network.get_submodule(layers))
        cut = replace(spec, layers=layers, stages=_around(layers, n_layers, (), ()))
        top = LayerWalk(cut, network)(content, 0, n_layers)
        below = _reached(top[0] if isinstance(top, list) else top, outside)
    unused = tuple(name for name in outside | inside if name not in used)
    lower, upper = _members(network, "", path, used & set(outside), below, calls)
    return Anatomy(
        layers=layers,
        layer_outputs=calls.layer_outputs,
        stages=_around(layers, len(network.get_submodule(layers)), lower, upper)
        if layers
        else (lower + upper,),
        unused=unused,
        feature_dim=states.shape[1] if states.dim() == 4 else states.shape[-1],
        returns_tokens=states.dim() == 3,
        n_class=sum(_n_tokens(p) for name, p in network.named_parameters() if name.endswith(_CLASS_TOKENS)),
    )


class _Calls:
    """What a forward shows: how many values a layer returns, which modules are called before the layers."""

    def __init__(self, network: nn.Module, layers: str):
        self._network, self._layers = network, network.get_submodule(layers) if layers else ()
        self.layer_outputs, self.early, self._entered = 0, set(), False

    def __enter__(self):
        first = next(iter(self._layers), None)
        self._hooks = [
            module.register_forward_pre_hook(partial(self._note, name))
            for name, module in self._network.named_modules()
        ]
        if first is not None:
            self._hooks.append(first.register_forward_hook(self._count))
        return self

    def __exit__(self, *_):
        for hook in self._hooks:
            hook.remove()

    def _note(self, name: str, module: nn.Module, inputs) -> None:
        self._entered |= bool(self._layers) and module is self._layers[0]
        if not self._entered:
            self.early.add(name)

    def _count(self, layer: nn.Module, inputs, output) -> None:
        self.layer_outputs = len(output) if isinstance(output, tuple | list) else 0


def _list_of_layers(network: nn.Module) -> str:
    """Name of the outermost list of two or more modules of one class with the most parameters, or nothing."""
    lists: dict[str, int] = {}
    for name, module in network.named_modules():
        inner = any(name.startswith(f"{outer}.") for outer in lists)
        if not isinstance(module, nn.ModuleList) or inner or len(module) < 2:
            continue
        if len({type(layer) for layer in module}) == 1 and not isinstance(module[0], nn.ModuleList):
            lists[name] = sum(p.numel() for p in module.parameters())
    return max(lists, key=lists.get) if lists else ""


def _around(
    layers: str, n: int, before: tuple[str, ...], after: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    *lower, top = [(f"{layers}.{number}",) for number in range(n)]
    return (before, *lower, top + after)


def _reached(states: Tensor, parameters: dict[str, Tensor]) -> set[str]:
    """Names of the parameters that the states depend on."""
    wanted = {name: p for name, p in parameters.items() if p.requires_grad}
    # What does not train at all is kept where the walk finds it: it counts as used.
    found = {name for name, p in parameters.items() if not p.requires_grad}
    if wanted:
        gradients = torch.autograd.grad(states.sum(), list(wanted.values()), allow_unused=True)
        found |= {name for name, gradient in zip(wanted, gradients, strict=True) if gradient is not None}
    return found


def _members(
    network: nn.Module, name: str, layers: str, used: set[str], below: set[str], calls: _Calls
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The largest modules (or parameters) outside the layers: those used below them, and the others."""
    module, prefix = network.get_submodule(name), f"{name}." if name else ""
    own = {key for key, _ in module.named_parameters(prefix=name)}
    if prefix == layers:
        return (), ()
    holds_layers = layers.startswith(prefix)
    if not holds_layers and not own:
        return ((name,), ()) if name in calls.early else ((), (name,))
    if not holds_layers and not own & used:
        return (), ()
    if not holds_layers and (own & used <= below or not own & used & below):
        return ((name,), ()) if own & used <= below else ((), (name,))
    lower, upper = [], []
    for key, _ in module.named_parameters(prefix=name, recurse=False):
        if key in used:
            (lower if key in below else upper).append(key)
    for child, _ in module.named_children():
        found = _members(network, f"{prefix}{child}", layers, used, below, calls)
        lower += found[0]
        upper += found[1]
    return tuple(lower), tuple(upper)


def _n_tokens(parameter: Tensor) -> int:
    return parameter.shape[-2] if parameter.dim() == 3 else 1
