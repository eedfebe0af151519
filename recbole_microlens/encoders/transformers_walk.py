"""The walk through a network of Hugging Face ``transformers``: before the layers, each layer, after them.

A part of the network is run by the network's own ``forward``, so that the library's masks, norms and position
biases apply. While it runs, its list of layers is exchanged: layers below the part pass their input on, the
first layer of the part is given the state that the part starts from, and the first one above it ends the
forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.walk import Features
from recbole_microlens.errors import MicroLensError

if TYPE_CHECKING:
    from recbole_microlens.encoders.transformers_spec import TransformersSpec


class LayerWalk:
    """The walk through a transformer: stage 0 is what comes before the layers, stage i is the i-th layer.

    Text: the input is tokens [N, 2, L]; what a stage returns is the tokens' states [N, L, d] and their mask
    [N, L], so that the part above needs no tokens. Pixels: a stage returns the tokens' states, or maps.

    Parameters
    ----------
    spec : the encoder's row; its last stage also holds what comes after the layers.
    network : what ``spec.build`` returned.
    """

    def __init__(self, spec: TransformersSpec, network: nn.Module):
        self.network, self.spec = network, spec
        self.stages = [[_member(network, name) for name in names] for names in spec.stages]
        self._starts = _first_layers(spec)
        path = spec.layers.split(".") if spec.layers else []
        self.layers = network.get_submodule(spec.layers) if spec.layers else None
        self._around = [network.get_submodule(".".join(path[:depth])) for depth in range(len(path))]

    def __call__(self, features: Features, first: int, last: int) -> Features:
        if first == last:
            return features
        if self.spec.modality != "text":
            pixels = self._stand_in(features) if first else features
            return self._run({self._input: pixels}, features, first, last)
        states, mask = features if first else (features[:, 0].long(), features[:, 1])
        mask = _with_one_real_token(mask)
        tokens = torch.zeros_like(mask, dtype=torch.long) if first else states
        inputs = {self._input: tokens, "attention_mask": mask.long()}
        return [self._run(inputs, states, first, last), mask]

    @property
    def _input(self) -> str:
        return self.network.main_input_name

    def _run(self, inputs: dict[str, Tensor], state: Tensor, first: int, last: int) -> Tensor:
        inputs |= self.spec.family.inputs(self.network, inputs[self._input])
        with self._mode_of(self.stages[first]), self._only(state, first, last):
            try:
                return self.spec.family.output(self.network, self.network(**inputs))
            except _ReachedError as reached:
                return reached.state

    def _stand_in(self, state: Tensor) -> Tensor:
        """One black clip or picture: what comes before the layers then costs next to nothing."""
        config = self.network.config
        size = getattr(config, "image_size", 32)
        height, width = size if isinstance(size, list | tuple) else (size, size)
        frames = (config.num_frames,) if self.spec.modality == "video" else ()
        return torch.zeros(1, *frames, 3, height, width, device=state.device)

    @contextmanager
    def _only(self, state: Tensor, first: int, last: int) -> Iterator[None]:
        """Exchange the layers outside the stages ``first`` .. ``last - 1``, and put them back in any case."""
        if self.layers is None:
            yield
            return
        layers, entry, end = self.layers._modules, self._starts[first], self._starts[last]
        exchanged = dict(layers)
        for number, (key, layer) in enumerate(layers.items()):
            if first and number < entry:
                exchanged[key] = _Skipped(layer, self.spec, exchanged.get("0"))
            elif first and number == entry:
                exchanged[key] = _Entered(layer, state)
            elif number >= end:
                exchanged[key] = _Stopped(layer)
        self.layers._modules = exchanged
        try:
            yield
        finally:
            self.layers._modules = layers

    @contextmanager
    def _mode_of(self, stage: list[nn.Module]) -> Iterator[None]:
        """Let the modules that hold the layers train only if the stage does: they may have dropout too."""
        before = [module.training for module in self._around]
        for module in self._around:
            module.training = all(member.training for member in stage)
        try:
            yield
        finally:
            for module, training in zip(self._around, before, strict=True):
                module.training = training


class _ReachedError(Exception):
    """Ends a forward at the layer after the wanted ones."""

    def __init__(self, state: Tensor):
        super().__init__()
        self.state = state


class _StandIn(nn.Module):
    """In the place of a layer; its other attributes are the layer's."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        # Not by assignment, which would make it a module of this one.
        self.__dict__["_layer"] = layer

    def __getattr__(self, name: str):
        return getattr(self.__dict__["_layer"], name)


class _Skipped(_StandIn):
    def __init__(self, layer: nn.Module, spec: TransformersSpec, lowest: _Skipped | nn.Module | None):
        super().__init__(layer)
        self._n_outputs, self._shares = spec.layer_outputs, spec.family.first_layer_shares
        self.__dict__["_lowest"] = lowest if isinstance(lowest, _Skipped) else self
        self._shared: tuple = (None,) * (self._n_outputs - 1)

    def forward(self, *args, **kwargs):
        state = _state_of(args, kwargs)
        if self._n_outputs == 0:
            return state
        if self._shares and self._lowest is self:
            with torch.no_grad():
                self._shared = tuple(self._layer(*args, **kwargs)[1:])
        return (state, *self._lowest._shared)


class _Entered(_StandIn):
    def __init__(self, layer: nn.Module, state: Tensor):
        super().__init__(layer)
        self._state = state

    def forward(self, *args, **kwargs):
        if args:
            return self._layer(self._state, *args[1:], **kwargs)
        return self._layer(**kwargs | {"hidden_states": self._state})


class _Stopped(_StandIn):
    def forward(self, *args, **kwargs):
        raise _ReachedError(_state_of(args, kwargs))


def _first_layers(spec: TransformersSpec) -> list[int]:
    """For each stage the number of layers below it; at the end the number of all layers."""
    layers = f"{spec.layers}." if spec.layers else "\0"
    for names in spec.stages[1:]:
        if not names[0].startswith(layers):
            raise MicroLensError(
                f"finetune_stages: '{spec.name}' cannot be cut at '{names[0]}', only before one of its "
                f"layers ({spec.layers}.0, ...). Set a number of stages, or `finetune` to full or frozen."
            )
    counts = [sum(name.startswith(layers) for name in names) for names in spec.stages]
    return [0, *accumulate(counts)]


def _state_of(args: tuple, kwargs: dict) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]


def _member(network: nn.Module, name: str) -> nn.Module:
    """The module of this name, or the parameter of this name as a module."""
    owner, _, last = name.rpartition(".")
    parameters = dict(network.get_submodule(owner).named_parameters(recurse=False))
    return nn.ParameterList([parameters[last]]) if last in parameters else network.get_submodule(name)


def _with_one_real_token(mask: Tensor) -> Tensor:
    """The mask with position 0 set: a title of nothing but padding would give NaN."""
    mask = mask.clone()
    mask[:, 0] = 1
    return mask
