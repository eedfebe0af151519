"""A network cut where watching one forward pass shows that it can be.

Most image networks end in modules called one after another, each on what the one before returned. Which they
are is seen by the identity of the tensors that pass between them, so that no table of architectures is
needed. What comes before them (patches, class token, positions) is run by the network's own code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.staged_forward import modules_of

Run = Callable[[Any], Tensor]


@dataclass
class Call:
    """How a module was called.

    Attributes
    ----------
    name : str
    given, returned : Tensor
    beside : tuple
        What it took beside the states: further arguments, and those by name.
    """

    name: str
    given: Any
    beside: tuple[tuple, dict[str, Any]]
    returned: Any = None

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among what it took beside the states, such as rotations of positions."""
        return [value for value in (*self.beside[0], *self.beside[1].values()) if isinstance(value, Tensor)]


@dataclass
class Watched:
    """What one pass showed.

    Attributes
    ----------
    chain : list of Call
        The modules that end the pass, each on what the one before returned.
    before : list of str
        Those that were called before them.
    """

    chain: list[Call] = field(default_factory=list)
    before: list[str] = field(default_factory=list)


def watch(network: nn.Module, run: Run, content: Tensor) -> Watched:
    """Run a network, and see which of its modules are called one after another up to the end.

    Parameters
    ----------
    network : nn.Module
        In eval mode; its direct children count as modules, and what is inside plain containers.
    run : callable
        ``content -> states``.
    content : Tensor [N, ...]
        On any device, meta too.
    """
    calls, result = _calls_of(network, run, content)
    chain: list[Call] = []
    wanted = result
    for call in reversed(calls):
        if call.returned is not wanted or any(tensor.requires_grad for tensor in call.tensors):
            break
        chain.insert(0, call)
        wanted = call.given
    names = [call.name for call in chain]
    if len(set(names)) < len(names):  # a module that is called twice would train in two places
        return Watched()
    return Watched(chain, [call.name for call in calls[: len(calls) - len(chain)]])


def _calls_of(network: nn.Module, run: Run, content: Tensor) -> tuple[list[Call], Tensor]:
    calls: list[Call] = []

    def before(name: str, module: nn.Module, args: tuple, kwargs: dict) -> None:
        calls.append(Call(name, args[0] if args else None, (args[1:], dict(kwargs))))

    def after(call_of: str, module: nn.Module, args: tuple, output: Any) -> None:
        next(call for call in reversed(calls) if call.name == call_of).returned = output

    handles = []
    for name, module in _parts(network):
        handles.append(module.register_forward_pre_hook(_bound(before, name), with_kwargs=True))
        handles.append(module.register_forward_hook(_bound(after, name)))
    try:
        return calls, run(content)
    finally:
        for handle in handles:
            handle.remove()


def _bound(hook: Callable, name: str) -> Callable:
    return lambda *args: hook(name, *args)


def _parts(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        path = prefix + name
        if type(child).forward is nn.Sequential.forward or isinstance(child, nn.ModuleList):
            yield from _parts(child, f"{path}.")
        else:
            yield path, child


class _Reached(Exception):
    def __init__(self, states: Any):
        self.states = states


class TracedStages:
    """Runs the parts of a watched network; see
    :class:`~recbole_microlens.encoders.staged_forward.StagedForward`.

    Parameters
    ----------
    network : nn.Module
    stages : tuple of tuple of str
        Names of the modules of each stage: those before the chain in the first, those after it in the last.
    watched : Watched
        The pass; what its modules took beside the states is given to them again.
    run : callable
        ``content -> states`` of the whole network.
    """

    def __init__(
        self,
        network: nn.Module,
        stages: tuple[tuple[str, ...], ...],
        watched: Watched,
        run: Run,
    ):
        self.names, self.run = stages, run
        self.stages = modules_of(network, stages)
        self.chain = {call.name: call for call in watched.chain}
        first = watched.chain[0].name if watched.chain else ""
        self.start = network.get_submodule(first) if watched.before and first else None
        self.is_whole = not watched.chain
        own = dict(network.named_parameters(recurse=False))  # class token, positions: in no module
        if own:
            self.stages[0].append(nn.ParameterDict(own))

    def __call__(self, features: Any, first: int, last: int) -> Tensor:
        if first == last:
            return features
        if first == 0 and self.is_whole:
            features = self.run(features)
        elif first == 0 and self.start is not None:
            features = self._before_chain(features)
        for names, modules in zip(self.names[first:last], self.stages[first:last], strict=True):
            for name, module in zip(names, modules, strict=False):
                if name in self.chain:
                    args, kwargs = self._beside(self.chain[name], features.device)
                    features = module(features, *args, **kwargs)
        return features

    def _before_chain(self, content: Tensor) -> Tensor:
        def stop(module: nn.Module, args: tuple, kwargs: dict) -> None:
            raise _Reached(args[0])

        assert self.start is not None
        handle = self.start.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self.run(content)
        except _Reached as reached:
            return reached.states
        finally:
            handle.remove()
        raise RuntimeError("the first module of the chain was not called")

    @staticmethod
    def _beside(call: Call, device: torch.device) -> tuple[tuple, dict[str, Any]]:
        """What a module takes beside the states, on a device."""

        def there(value: Any) -> Any:
            return value.to(device) if isinstance(value, Tensor) else value

        if any(tensor.device != device for tensor in call.tensors):
            args, kwargs = call.beside
            call.beside = tuple(map(there, args)), {name: there(value) for name, value in kwargs.items()}
        return call.beside
