"""Faster forms of the same computation: memory layout, short clips, fused optimiser, compiled modules."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import wraps
from logging import getLogger
from typing import ParamSpec, TypeVar

import torch
from torch import nn

from recbole_microlens.cpu.few_frames import for_few_frames
from recbole_microlens.errors import first_line
from recbole_microlens.items.content import ContentItemEmbedding

_CHANNELS_LAST: dict[type, torch.memory_format] = {
    nn.Conv2d: torch.channels_last,
    nn.Conv3d: torch.channels_last_3d,
}
# What the optimisers of RecBole take, apart from ``fused``.
_OPTIONS = ("params", "lr", "betas", "eps", "weight_decay", "amsgrad")


Args = ParamSpec("Args")
Result = TypeVar("Result")


def convolutions(encoders: nn.Module) -> None:
    """Give convolution weights the memory layout of pixels and cached rows, and let temporal convolutions
    skip the padding. Names and values of the weights stay.
    """
    for module in encoders.modules():
        form = _CHANNELS_LAST.get(type(module))
        if form is not None and isinstance(module, nn.Conv2d | nn.Conv3d):
            module.weight.data = module.weight.data.contiguous(memory_format=form)
    for_few_frames(encoders)


def fused(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The same Adam or AdamW with all parameters updated in one pass, if the device can do so."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
        return optimizer
    groups = [{key: group[key] for key in _OPTIONS} for group in optimizer.param_groups]
    try:
        return type(optimizer)(groups, fused=True)  # type: ignore[call-arg]  # Adam and AdamW take it
    except RuntimeError as error:
        getLogger().warning(f"The optimiser is not fused here ({first_line(error)}).")
        return optimizer


def compile_modules(model: nn.Module, layer: ContentItemEmbedding, device: torch.device) -> None:
    """Compile the stages of the encoders that train, and the backbone; leave them as they are where torch
    cannot compile here.

    Parameters
    ----------
    layer : ContentItemEmbedding
        The model's item embedding.
    """
    try:
        torch.compile(_tried)(torch.zeros(2, device=device))
    except (RuntimeError, OSError, ImportError) as error:
        getLogger().warning(
            f"compile: torch.compile does not work here ({first_line(error)}); continuing without it."
        )
        return
    # A module that cannot be compiled runs as it is, without pages about why.
    torch._dynamo.config.suppress_errors = True
    torch._logging.set_logs(dynamo=logging.ERROR, inductor=logging.ERROR)
    stages = [
        module
        for encoder in layer.encoders().values()
        for stage in encoder.stages()[encoder.n_stages - encoder.trainable_stages :]
        for module in stage
    ]
    backbone = [
        child
        for child in model.children()
        if child is not layer and next(child.parameters(), None) is not None
    ]
    for module in (*stages, *backbone):
        module.compile(dynamic=True)
    getLogger().info(
        f"compile: {len(stages)} modules of the encoders and {len(backbone)} of the backbone; what torch "
        "cannot compile runs as it is"
    )


def compiler_settings_kept(work: Callable[Args, Result]) -> Callable[Args, Result]:
    """Decorate a library call that compiles: afterwards torch's compiler has its settings of before."""

    @wraps(work)
    def scoped(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        before = _suppresses_errors()
        try:
            return work(*args, **kwargs)
        finally:
            if _suppresses_errors() != before:  # it compiled
                torch._dynamo.config.suppress_errors = before
                torch._logging.set_logs()

    return scoped


def _suppresses_errors() -> bool:
    """Without importing the compiler, which takes seconds; where nobody has, it is as torch has it."""
    return "torch._dynamo" in sys.modules and torch._dynamo.config.suppress_errors


def warn_of_what_runs_as_it_is() -> None:
    """Once the modules have run: one warning if torch could not compile all that it met."""
    pieces = torch._dynamo.utils.counters["frames"]
    if pieces["ok"] < pieces["total"]:
        getLogger().warning(
            f"compile: torch could compile {pieces['ok']} of {pieces['total']} pieces of the model; the "
            "others run as they are"
        )


def _tried(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.sin() + 1
