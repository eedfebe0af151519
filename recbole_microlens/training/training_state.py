"""What the next epoch depends on, as plain data, and back into a trainer."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recbole_microlens import distributed
from recbole_microlens.errors import explained
from recbole_microlens.training import resuming, rng


@dataclass(frozen=True)
class BegunEpoch:
    """How far an epoch is.

    Attributes
    ----------
    shuffling : torch.Tensor
        State of the loader's generator before the epoch.
    steps : int
        Done.
    loss : float
        Their sum.
    """

    shuffling: torch.Tensor
    steps: int = 0
    loss: float = 0.0


# What a trainer records for its result; a state of an earlier version has none of it.
_RECORDED = ("train_losses", "valid_results", "flops_per_step")
# Of an optimiser's groups: a resume takes them from its settings, not from the state.
_RATES = ("lr", "weight_decay")


def state_of(trainer, generators: list[torch.Generator]) -> dict:
    """Everything but the model that a trainer needs to continue after an epoch.

    Parameters
    ----------
    trainer
        A :class:`~recbole_microlens.training.trainer.ResumableTrainer`.
    generators : list[torch.Generator]
        What shuffles the training data.
    """
    scaler = getattr(trainer, "scaler", None)
    return {
        "optimizers": {name: each.state_dict() for name, each in _optimizers(trainer).items()},
        "settings": _settings(trainer),
        "resumes": trainer.resumes,
        "scaler": scaler.state_dict() if scaler else {},
        "cur_step": trainer.cur_step,
        "best_valid_score": float(trainer.best_valid_score),
        "best_valid_result": trainer.best_valid_result and dict(trainer.best_valid_result),
        "epoch_times": trainer.epoch_times,
        "data_wait_shares": getattr(trainer, "data_wait_shares", []),
        "model_numbers": numbers_of(trainer.model),
        **{name: getattr(trainer, name) for name in _RECORDED},
        "random": distributed.all_gather_object(rng.current(generators)),
    }


def restore(trainer, state: dict) -> None:
    """Continue from what :func:`state_of` gave, under the trainer's own settings.

    Random states are left alone: they are restored when training begins.

    Raises
    ------
    MicroLensError
        The state is of another version of this package; or all is trained, and settings are given for what is
        not.
    """
    with explained(f"{trainer.folder} cannot be continued by this version", "Start a new run."):
        for name, optimizer in _optimizers(trainer).items():
            if name in state["optimizers"]:
                _restore_optimizer(optimizer, state["optimizers"][name])
        if state["scaler"]:
            trainer.scaler.load_state_dict(state["scaler"])
        for name in ("cur_step", "best_valid_score", "best_valid_result", "epoch_times", "data_wait_shares"):
            setattr(trainer, name, state[name])
        vars(trainer).update({name: state[name] for name in _RECORDED if name in state})
        vars(trainer.model).update(state["model_numbers"])
        trainer.start_epoch = state["epoch"] + 1
        begun = state.get("begun_epoch")
        trainer.begun_epoch = begun and BegunEpoch(**begun)
        trainer.resumes = list(state["resumes"])
        changed = resuming.changes(state["settings"], _settings(trainer))
    is_finished = trainer.is_finished()
    resuming.require_effect(trainer.folder, trainer.start_epoch, trainer.epochs, is_finished, changed)
    if not is_finished:
        trainer.resumes.append({"from_epoch": trainer.start_epoch, "changed": changed})


def _restore_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    rates = [{key: group[key] for key in _RATES if key in group} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, rates, strict=True):
        group.update(own)


def _optimizers(trainer) -> dict[str, torch.optim.Optimizer]:
    """Every optimiser once, by the trainer's name for it: RecVAE's trainer uses two of them in turn."""
    named = {name: each for name, each in vars(trainer).items() if isinstance(each, torch.optim.Optimizer)}
    last_name = {id(each): name for name, each in named.items()}
    return {name: each for name, each in named.items() if last_name[id(each)] == name}


def _settings(trainer) -> dict:
    return {key: trainer.config[key] for key in resuming.TRAINING}


def numbers_of(model) -> dict[str, int | float]:
    """Plain numbers that a model keeps, such as the step of MultiVAE's annealing."""
    return {name: value for name, value in vars(model).items() if type(value) in (int, float)}
