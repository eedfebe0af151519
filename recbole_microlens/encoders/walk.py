"""The walk through a network's stages, from any stage to any other: what cutting a network rests on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

if TYPE_CHECKING:
    from recbole_microlens.encoders.spec import EncoderSpec

Features = Tensor | list[Tensor]


class Walk(Protocol):
    """How to run a part of a network.

    Attributes
    ----------
    stages : for each stage its modules; what is frozen or trained as one.
    """

    stages: list[list[nn.Module]]

    def __call__(self, features: Features, first: int, last: int) -> Features:
        """Run the stages ``first`` .. ``last - 1``.

        Parameters
        ----------
        features : the prepared input if ``first`` is 0, else what the walk to ``first`` returned: a tensor
            [N, ...], or a list of them.
        """


class StageWalk:
    """A network whose stages are called one after another.

    Parameters
    ----------
    stages : for each stage its modules, in the order of the forward pass.
    step : ``(module, features) -> features``, how a module is called.
    """

    def __init__(self, stages: list[list[nn.Module]], step: Callable | None = None):
        self.stages = stages
        self.step = step or _call

    def __call__(self, features: Features, first: int, last: int) -> Features:
        for stage in self.stages[first:last]:
            for module in stage:
                features = self.step(module, features)
        return features


def stage_walk(spec: EncoderSpec, network: nn.Module, step: Callable | None = None) -> Walk:
    """The walk through a network whose modules, named in ``spec.stages``, are called one after another."""
    return StageWalk([[network.get_submodule(name) for name in names] for names in spec.stages], step)


def _call(module: nn.Module, features: Features) -> Features:
    # pytorchvideo's pathways overwrite the list they are given.
    return module(list(features) if isinstance(features, list) else features)
