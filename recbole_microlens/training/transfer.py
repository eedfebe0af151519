"""Start from another run, on this dataset or on another: encoders and user model, but nothing that belongs to
ids.
"""

from __future__ import annotations

from collections import defaultdict
from logging import getLogger
from pathlib import Path

from torch import Tensor, nn

from recbole_microlens.config import model_class
from recbole_microlens.encoders.adapters.adapted import AdaptedEncoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import modalities
from recbole_microlens.items.towers import IdTower
from recbole_microlens.models import side_by_side
from recbole_microlens.models.backbones import ITEM_ROWS, OWN_BACKBONES, USER_ROWS
from recbole_microlens.models.content_model import ContentModel
from recbole_microlens.training import checkpoint, run_folder
from recbole_microlens.training.resumable_trainer import BEST

_TOWERS, _FUSION, _STOCK_TABLE = "item_embedding.towers.", "item_embedding.fusion.", "item_embedding.weight"
_USER_MODEL = "user model"
_SHOWN = 3

State = dict[str, Tensor]


def start_from(model: nn.Module, config, run: Path) -> None:
    """Put the encoders and the user model of a finished run into a new model, and log what was taken.

    Taken are the item towers of the modalities that both have, the fusion if both fuse the same modalities in
    the same way, and the user model if both have the same backbone. Whatever has a row for each item or user
    is left out, also where both datasets have the same number of them; see :func:`names_by_id`. Adapters that
    the run does not have begin anew.

    Parameters
    ----------
    model : nn.Module
        A content model, changed in place.
    config : Config
        What it was built from.
    run : Path
        The folder of the other run.

    Raises
    ------
    MicroLensError
        The folder is not a finished run; a part that both have is of another encoder, size or length; or
        nothing can be taken.
    """
    if not isinstance(model, ContentModel):
        raise MicroLensError(f"init_from: {config['model']} has no encoder to start from a run. Remove it.")
    settings = _settings(run)
    saved = checkpoint.weights(run / BEST, config["device"])
    by_id = names_by_id(model)
    theirs = _parts({name: value for name, value in saved.items() if name not in by_id})
    ours = _parts({name: value for name, value in model.state_dict().items() if name not in by_id})
    left_out = _left_out(ours, theirs, config, settings, type(model))
    taken = [part for part in ours if part not in left_out]
    reasons = [f"{part}: {reason}" for part, reason in left_out.items()]
    fresh = adapter_names(model) - saved.keys()
    if not taken:
        raise MicroLensError(
            f"init_from: nothing of {run} fits {config['model']} ({'; '.join(reasons)}). Leave it out."
        )
    for part in taken:
        taken_of_part = {name: value for name, value in ours[part].items() if name not in fresh}
        _require_equal_shapes(part, taken_of_part, theirs.get(part, {}), run)
        model.load_state_dict(theirs[part], strict=False)
    _log(f"{run} ({settings['model']} on {settings['dataset']})", taken, reasons, by_id)
    if fresh:
        getLogger().info("init_from: the run has no adapters like these: they begin anew")


def _settings(run: Path) -> dict:
    """The settings of a run; ``None`` for those that its model does not have."""
    return defaultdict(lambda: None, run_folder.settings_of(run))


def names_by_id(model: nn.Module) -> set[str]:
    """Names in a content model's state that belong to single items or users.

    These are the tables of id towers, and those that :mod:`~recbole_microlens.models.backbones` names.
    """
    modules = model.named_modules(remove_duplicate=False)
    towers = tuple(f"{name}." for name, module in modules if isinstance(module, IdTower))
    backbone = _backbone(type(model)).__name__
    declared = {*ITEM_ROWS.get(backbone, ()), *USER_ROWS.get(backbone, ())}
    return {name for name in model.state_dict() if name in declared or name.startswith(towers)}


def adapter_names(model: nn.Module) -> set[str]:
    """Names in a content model's state of the adapters of its encoders."""
    return {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, AdaptedEncoder)
        for name in module.adapter_names()
    }


def _parts(state: State) -> dict[str, State]:
    """A state by item tower, fusion, and user model, without a stock model's item table."""
    parts: dict[str, State] = {}
    for name, value in state.items():
        part = _USER_MODEL
        if name.startswith(_TOWERS):
            part = f"{name.removeprefix(_TOWERS).partition('.')[0]} tower"
        elif name.startswith(_FUSION):
            part = "fusion"
        if name != _STOCK_TABLE:
            parts.setdefault(part, {})[name] = value
    return parts


def _left_out(
    ours: dict[str, State], theirs: dict[str, State], config, settings: dict, model_type: type
) -> dict[str, str]:
    """Parts of a model that the run has no counterpart of, and the reason."""
    reasons = {part: f"{settings['model']} has none" for part in ours if part not in theirs}
    if "fusion" in ours and _fused(config) != _fused(settings):
        reasons["fusion"] = "the run fuses other modalities, or in another way"
    own, other = _backbone(model_type), _backbone(model_class(settings["model"]))
    if _USER_MODEL in ours and own is not other:
        reasons[_USER_MODEL] = f"that of the run is {other.__name__}, this one is {own.__name__}"
    return reasons


def _fused(config) -> tuple:
    return modalities(config), config["fusion"]


def _backbone(model: type) -> type:
    """The stock RecBole model that a model is, or is built on; of several side by side, these together."""
    places = ("recbole.model.", side_by_side.__name__)
    own = OWN_BACKBONES.values()
    return next(c for c in model.__mro__ if c in own or c.__module__.startswith(places))


def _require_equal_shapes(part: str, ours: State, theirs: State, run: Path) -> None:
    faults = [
        f"{name} is {_shape(theirs, name)} there, {_shape(ours, name)} here"
        for name in dict.fromkeys([*ours, *theirs])
        if _shape(theirs, name) != _shape(ours, name)
    ]
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise MicroLensError(
            f"init_from: the {part} of {run} does not fit: {'; '.join(faults[:_SHOWN])}{more}. Give both "
            "runs the same encoder, sizes and number of layers, or leave out `init_from`."
        )


def _shape(state: State, name: str) -> str:
    return str(list(state[name].shape)) if name in state else "absent"


def _log(source: str, taken: list[str], left_out: list[str], by_id: set[str]) -> None:
    logger = getLogger()
    logger.info(f"init_from: {', '.join(taken)} from {source}")
    for reason in left_out:
        logger.info(f"init_from: left out {reason}")
    if by_id:
        logger.info(f"init_from: left out what belongs to single items or users: {', '.join(sorted(by_id))}")
