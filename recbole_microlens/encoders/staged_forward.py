"""A network run in parts, from any stage to any other: what cutting an encoder rests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

# What a stage gives to the next: a tensor [N, ...], or a list of them (pathways; tokens and their mask).
Features = Tensor | list[Tensor]
Step = Callable[[nn.Module, Features], Features]


class StagedForward(Protocol):
    """How a part of a network is run.

    Attributes
    ----------
    stages : list of list of nn.Module
        For each stage its modules; what is frozen or trained as one.
    """

    stages: list[list[nn.Module]]

    def __call__(self, features: Features, first: int, last: int) -> Features:
        """Run the stages ``first`` .. ``last - 1``.

        Parameters
        ----------
        features : Tensor [N, ...] or list of them
            The prepared input if ``first`` is 0, else what the run up to ``first`` returned.
        first, last : int

        Returns
        -------
        Tensor [N, ...] or list of them
            ``features`` themselves where ``first`` equals ``last``.
        """


class SequentialStages:
    """A network whose modules are called one after another; see :class:`StagedForward`.

    Parameters
    ----------
    stages : list of list of nn.Module
        For each stage its modules, in the order of the forward pass.
    step : callable, optional
        ``(module, features) -> features``, how a module is called.
    """

    def __init__(self, stages: list[list[nn.Module]], step: Step | None = None):
        self.stages = stages
        self.step = step or _call

    def __call__(self, features: Features, first: int, last: int) -> Features:
        for stage in self.stages[first:last]:
            for module in stage:
                features = self.step(module, features)
        return features


def modules_of(network: nn.Module, stages: tuple[tuple[str, ...], ...]) -> list[list[nn.Module]]:
    """The modules that the names of stages stand for."""
    return [[network.get_submodule(name) for name in names] for names in stages]


def _call(module: nn.Module, features: Features) -> Features:
    # pytorchvideo's pathways overwrite the list they are given.
    return module(list(features) if isinstance(features, list) else features)
