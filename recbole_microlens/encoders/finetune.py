"""Fine-tuning: where an encoder is cut, by mode; above the cut its stages train, or what adapts them.

Source: section 4.2 of the MicroLens paper (frozen, top-T and full fine-tuning); for the modes with adapters
see :mod:`recbole_microlens.encoders.adapters`.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from recbole_microlens.errors import MicroLensError, did_you_mean

NONE, CHOSEN, ALL = "none", "chosen", "all"
# Which stages are above the cut: none of them, the top ones that are asked for, or all.
MODES = {
    "frozen": NONE,
    "top": CHOSEN,
    "full": ALL,
    "lora": CHOSEN,
    "adapter": CHOSEN,
    "side": NONE,
}

Stages = tuple[tuple[str, ...], ...]


def trainable_stages(mode: str, finetune_stages: int | str, n_stages: int) -> int | str:
    """What is above the cut under a mode: none of the stages, the last ``finetune_stages``, or all.

    Parameters
    ----------
    mode : str
        A key of :data:`MODES`.
    finetune_stages : int or str
        How many top stages train in mode ``top``, or carry adapters, or the name of a module, see
        :func:`cut_stages`.
    n_stages : int
        How many stages the encoder has.

    Returns
    -------
    int or str
        A number of top stages, or the name of the module as it is.

    Raises
    ------
    MicroLensError
        Unknown mode; or a number of stages that the encoder does not have, where the mode looks at it.
    """
    if mode not in MODES:
        raise MicroLensError(
            f"finetune: '{mode}' is not a mode.{did_you_mean(str(mode), MODES)} Set one of: "
            f"{', '.join(MODES)}."
        )
    if MODES[mode] != CHOSEN:
        return 0 if MODES[mode] == NONE else n_stages
    if isinstance(finetune_stages, str):
        return finetune_stages
    if type(finetune_stages) is not int or not 1 <= finetune_stages <= n_stages:
        raise MicroLensError(
            f"finetune_stages: {finetune_stages} does not fit; this encoder has {n_stages} stages, set 1 to "
            f"{n_stages} or the name of a module."
        )
    return finetune_stages


def cut_stages(stages: Stages, network: nn.Module, trainable: int | str | None) -> tuple[Stages, int]:
    """The stages of a network and how many top ones train.

    Parameters
    ----------
    stages : tuple of tuple of str
        Names of modules, as in ``EncoderSpec.stages``.
    network : nn.Module
    trainable : int or str, optional
        A number of stages; all for ``None``; or the name of a module, from which on everything trains. Where
        that module is not the first of its stage, the stage becomes two.

    Returns
    -------
    tuple of tuple of str, int
        The stages, and how many top ones train.

    Raises
    ------
    MicroLensError
        The network has no such module, or cannot be cut there; the message lists where it can be.
    """
    if not isinstance(trainable, str):
        return stages, len(stages) if trainable is None else trainable
    for number, names in enumerate(stages):
        for position, name in enumerate(names):
            parts = _parts(network, name)
            if trainable != name and trainable not in parts:
                continue
            at = 0 if trainable == name else parts.index(trainable)
            below = names[:position] + (parts[:at] if at else ())
            above = (parts[at:] if at else (name,)) + names[position + 1 :]
            kept = stages[:number] + ((below,) if below else ())
            return kept + (above,) + stages[number + 1 :], len(stages) - number
    known = [part for names in stages for name in names for part in (name, *_parts(network, name))]
    raise MicroLensError(
        f"finetune_stages: the encoder cannot be cut at '{trainable}'.{did_you_mean(trainable, known)} Set a "
        f"number of stages, or one of: {', '.join(known)}."
    )


def _parts(network: nn.Module, name: str) -> tuple[str, ...]:
    """Names of the modules that a module calls one after another, nothing else; empty if it does more."""
    module: Any = network.get_submodule(name)
    if type(module).forward is nn.Sequential.forward:
        return tuple(f"{name}.{child}" for child in module._modules)
    if list(module._modules) == ["res_blocks"]:  # a ResStage of pytorchvideo
        return tuple(f"{name}.res_blocks.{child}" for child in module.res_blocks._modules)
    return ()
