"""Before a run trains: whether the model's parameters, their optimiser and one step fit into the memory.

Parameters, gradients and what the optimiser keeps are counted. The step is an estimate, see
:func:`~recbole_microlens.training.step_memory.step_memory`. What a frozen encoder needs while it computes,
mixed precision, rankings and other programs are not in it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import getLogger

import torch
from torch import nn

from recbole_microlens.activation_cache.memory import available_memory, in_words
from recbole_microlens.config.schema_of_recbole import LEARNERS
from recbole_microlens.errors import MicroLensError, first_line
from recbole_microlens.training import rng
from recbole_microlens.training.step_memory import step_memory

# Models that are computed, not trained: matrices [items, items] of fp32 that they hold at once, at least.
_ITEM_MATRICES = {"EASE": 3, "ADMMSLIM": 6}
_CLOSE = 0.9


@dataclass(frozen=True)
class Estimate:
    """Bytes that a run takes.

    Attributes
    ----------
    parameters : int
        Of all parameters; they are taken already.
    optimiser : int
        Of the gradients and of what the optimiser keeps, for those that train.
    step : int | None
        Of one training step, in addition; ``None`` if it could not be estimated.
    available : int
        That are free.
    """

    parameters: int
    optimiser: int
    step: int | None
    available: int


def build(config, n_items: int, make: Callable[[], nn.Module]) -> nn.Module:
    """Build a model, unless there is no room for its parameters.

    While it is built the parameters are counted, before their memory is written to and thereby taken. Once
    they might not fit they are counted to the end on torch's ``meta`` device, which has shapes alone.

    Parameters
    ----------
    make : Callable[[], nn.Module]
        Builds the model on the CPU; may be called again.

    Raises
    ------
    MicroLensError
        There is no room: for a stock model's parameters, all of which train, with their gradients and what
        the optimiser keeps; for a content model's by themselves.
    """
    _require_item_matrices(config, n_items)
    limit = _room(config)
    states = rng.current([])
    try:
        with _each_new_parameter(_up_to(limit)):
            return make()
    except _MayNotFit:
        rng.restore(states, [])
    _require_room(config, limit, make)
    rng.restore(states, [])
    return make()


def check(config, model: nn.Module, train_data) -> Estimate:
    """Look at the memory of the training to come, and log it in one line; a warning where it is scarce.

    Raises
    ------
    MicroLensError
        The gradients and what the optimiser keeps do not fit in addition to the parameters.
    """
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    found = Estimate(
        parameters=sum(parameter.nbytes for parameter in model.parameters()),
        optimiser=trained * (1 + _states(config)),
        step=step_memory(model, train_data),
        available=available_memory(config["device"]),
    )
    if found.optimiser > found.available:
        _refuse(
            config,
            "the gradients of its parameters and the optimiser's state",
            found.optimiser,
            found.available,
        )
    step = "could not be estimated" if found.step is None else f"about {in_words(found.step)}"
    said = (
        f"memory: parameters {in_words(found.parameters)}, gradients and optimiser "
        f"{in_words(found.optimiser)}, one step {step}; {in_words(found.available)} available"
    )
    if found.optimiser + (found.step or 0) > _CLOSE * found.available:
        getLogger().warning(
            f"{said}: this may not fit; the system would then kill the run. Lower `train_batch_size`, "
            "`MAX_ITEM_LIST_LENGTH` or the sizes of the model."
        )
    else:
        getLogger().info(said)
    return found


class _MayNotFit(BaseException):
    """No error: ends the building of a model, whoever catches errors there."""


def _states(config) -> int:
    return LEARNERS[config["learner"].lower()]


def _copies(config) -> int:
    """How often each parameter is there while it trains; of a content model it is not known which will."""
    return 1 if config.is_content_model else 2 + _states(config)


def _room(config) -> int:
    """Bytes of parameters that fit. They are built on the CPU, whatever the device."""
    rooms = [available_memory(config["device"]) // _copies(config)]
    if config["device"].type != "cpu":
        rooms.append(available_memory(torch.device("cpu")))
    return min(rooms)


def _up_to(limit: int) -> Callable[[nn.Parameter], nn.Parameter]:
    total = 0
    counted: weakref.WeakValueDictionary[int, nn.Parameter] = weakref.WeakValueDictionary()

    def count(parameter: nn.Parameter) -> nn.Parameter:
        nonlocal total
        if id(parameter) not in counted:
            counted[id(parameter)] = parameter
            total += parameter.nbytes
        if total > limit:
            raise _MayNotFit
        return parameter

    return count


def _on_meta(parameter: nn.Parameter) -> nn.Parameter:
    return parameter if parameter.is_meta else nn.Parameter(parameter.to("meta"), parameter.requires_grad)


@contextmanager
def _each_new_parameter(take: Callable[[nn.Parameter], nn.Parameter]) -> Iterator[None]:
    """Pass every parameter that a module gets, or that is copied, through a function."""
    register, deepcopy = nn.Module.register_parameter, nn.Parameter.__deepcopy__

    def taken(parameter):
        return parameter if parameter is None or nn.parameter.is_lazy(parameter) else take(parameter)

    def copied(parameter, memo):
        if id(parameter) not in memo:
            memo[id(parameter)] = taken(deepcopy(parameter, memo))
        return memo[id(parameter)]

    nn.Module.register_parameter = lambda module, name, parameter: register(module, name, taken(parameter))
    nn.Parameter.__deepcopy__ = copied
    try:
        yield
    finally:
        nn.Module.register_parameter, nn.Parameter.__deepcopy__ = register, deepcopy


def _require_room(config, limit: int, make: Callable[[], nn.Module]) -> None:
    try:
        with _each_new_parameter(_on_meta):
            total = sum(parameter.nbytes for parameter in make().parameters())
    except Exception as error:  # Any model's own code: some compute with their parameters as they are built.
        getLogger().debug(f"memory: {config['model']} cannot be counted ({first_line(error)})", exc_info=True)
        return
    if total > limit:
        copies = _copies(config)
        rest = ", with their gradients and the optimiser's state," if copies > 1 else ""
        _refuse(config, f"its {total // 4:,} parameters{rest}", total * copies, limit * copies)


def _require_item_matrices(config, n_items: int) -> None:
    number = _ITEM_MATRICES.get(config["model"], 0)
    needed, available = number * 4 * n_items**2, available_memory(torch.device("cpu"))
    if needed > available:
        _refuse(config, f"{number} matrices of all items by all items", needed, available)


def _refuse(config, what: str, needed: int, available: int) -> None:
    raise MicroLensError(
        f"Not enough memory for {config['model']}: {what} take {in_words(needed)}, {in_words(available)} are "
        "available. Lower `hidden_size`, `embedding_size` or another size of the model."
    )
