"""What a model settles among its settings: which it reads, its width, modalities, loss and negatives."""

from __future__ import annotations

from logging import getLogger
from typing import Any

from recbole.utils import InputType, ModelType

from recbole_microlens.config.model_class import is_baseline, is_content_model, looks_at_content, recbole_name
from recbole_microlens.config.property_files import hyperparameters
from recbole_microlens.config.schema import baseline_keys, content_keys, feature_keys
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import ENCODED, as_list
from recbole_microlens.models.backbones import CHOOSING, SUFFIXES, backbones
from recbole_microlens.models.every_position import EveryPositionModel

_WIDTHS = ("hidden_size", "embedding_size")
# torch raises whole numbers to a negative power for a float alone.
_POWERS = ("FISM", "FOSSIL", "NAIS")
_NEGATIVES = "train_neg_sample_args"
_UNIFORM = {"distribution": "uniform", "sample_num": 1}


def look_for_unread_encoders(given: dict, command_line: dict, model_class: type[Any]) -> None:
    """Warn of an encoder for what a content model does not look at.

    Parameters
    ----------
    given : dict
        All that the user gives.
    command_line : dict
        What stands on the command line; a file may be for several models.

    Raises
    ------
    MicroLensError
        RecBole's keys of mixed precision, for which content models have one of their own.
    """
    looked_at = set(as_list(command_line.get("item_modality") or model_class.item_modality))
    unread = [
        f"{name}_encoder" for name in ENCODED if name not in looked_at and command_line.get(f"{name}_encoder")
    ]
    if command_line.get("encoder") and not looked_at & set(ENCODED):
        unread.append("encoder")
    if unread:
        getLogger().warning(
            f"{', '.join(unread)}: not read, {model_class.__name__} looks at "
            f"{', '.join(sorted(looked_at))} alone"
        )
    for key in ("enable_amp", "enable_scaler"):
        if given.get(key):
            raise MicroLensError(f"{key}: {model_class.__name__} reads `precision` (bf16 or fp16) instead.")


def refuse_unread_keys(given: dict, command_line: dict, model_class: type[Any]) -> None:
    """Refuse settings that a model does not read; in files, which may be for several models, warn.

    Of content models' settings a stock model reads none, a baseline those that its features come from; the
    settings of baselines are read by these alone.

    Raises
    ------
    MicroLensError
        One stands on the command line; with a model that reads it.
    """
    name = recbole_name(model_class)
    reader = f"{name}V" if name in backbones() else "SASRecV"
    kinds = (
        (keys_not_read(model_class), is_content_model, f"a content model such as {reader}", reader),
        (baseline_keys(), is_baseline, "a baseline of the paper such as DSSMIDV", "DSSMIDV"),
    )
    for keys, is_reader, who, example in kinds:
        unread = sorted(keys & given.keys())
        if not unread or is_reader(model_class):
            continue
        message = f"{', '.join(unread)}: {model_class.__name__} does not use this; {who} does."
        if command_line.keys() & set(unread):
            raise MicroLensError(f"{message} Remove it, or set --model={example}.")
        getLogger().warning(message)


def keys_not_read(model_class: type[Any]) -> frozenset[str]:
    """The settings of content models that a stock model or a baseline does not read."""
    if not is_baseline(model_class):
        return content_keys()
    read = feature_keys() if looks_at_content(model_class) else {"item_modality"}
    return content_keys() - read


def settle_negatives(settings: dict, model_class: type[Any], given: dict) -> None:
    """Give a stock model the negatives that its loss needs, and none to the others; say "none" in one way.

    Parameters
    ----------
    settings : dict
        All of the run's; changed in place.
    model_class : type
        The model that reads them.
    given : dict
        All that the user gives, which counts.
    """
    if not are_drawn(settings.get(_NEGATIVES)):
        settings[_NEGATIVES] = None
    if is_content_model(model_class) or _NEGATIVES in given:
        return
    if settings.get("loss_type") == "CE" and not hasattr(model_class, "input_type"):
        settings[_NEGATIVES] = None
    elif settings["MODEL_TYPE"] == ModelType.CONTEXT and settings.get("threshold") is None:
        # Without labels in the data, context-aware models need negatives to get both.
        settings[_NEGATIVES] = dict(_UNIFORM)


def settle_alpha(settings: dict, model_class: type[Any]) -> None:
    """Make a whole ``alpha`` a float for the models that raise whole numbers to ``-alpha``."""
    if recbole_name(model_class) in _POWERS and type(settings.get("alpha")) is int:
        settings["alpha"] = float(settings["alpha"])


def are_drawn(negatives: dict | None) -> bool:
    """Whether ``train_neg_sample_args`` ask for negatives; "none" may be said in several ways."""
    if not isinstance(negatives, dict):
        return False
    return not {None, "none", "None"} & {
        negatives.get("distribution", "uniform"),
        negatives.get("sample_num", 1),
    }


def settle_width(settings: dict, model_class: type[Any], levels: list[dict]) -> None:
    """Let ``hidden_size`` and ``embedding_size`` mean one thing: the width of items and states.

    RecBole's models read one or the other, GRU4Rec both. Where only one is given, it holds for both; the one
    that the backbone does not read is removed.

    Parameters
    ----------
    settings : dict
        All of the run's; changed in place.
    model_class : type
        The model that reads them.
    levels : list of dict
        Settings that somebody but RecBole gives, highest first. The highest that has a width counts.

    Raises
    ------
    MicroLensError
        Two widths are given for a backbone that has one.
    """
    backbone = recbole_name(model_class)
    read = [word for word in _WIDTHS if word in hyperparameters(backbone)]
    if not read:
        return
    given = next((found for level in levels if (found := {w: level[w] for w in _WIDTHS if w in level})), {})
    if len(read) == 1 and len(set(given.values())) > 1:
        raise MicroLensError(
            f"hidden_size, embedding_size: {given['hidden_size']} and {given['embedding_size']} are given, "
            f"but {backbone} has one width. Keep one of the two."
        )
    if len(set(given.values())) == 1:
        settings.update(dict.fromkeys(read, next(iter(given.values()))))
    for word in set(_WIDTHS) - set(read):
        settings.pop(word, None)


def settle_loss(settings: dict, model_class: type[Any], given: dict) -> None:
    """Check what a content model's loss allows, and give it negatives where it needs them.

    Raises
    ------
    MicroLensError
        ``loss_type`` or ``reg_weight`` for a model that is trained with the in-batch softmax; negatives that
        depend on the model's scores.
    """
    name = settings.get("model") or model_class.__name__
    if issubclass(model_class, EveryPositionModel):
        if settings.get("loss_type", "CE") != "CE":
            raise MicroLensError(
                f"loss_type: {settings['loss_type']} is given, but {name} is trained with the in-batch "
                "softmax. Remove it."
            )
        if settings.get("reg_weight"):
            raise MicroLensError(
                f"reg_weight: {settings['reg_weight']} is given, but {name} is trained with the in-batch "
                "softmax alone. Set `weight_decay` instead."
            )
    elif _NEGATIVES not in given and is_pairwise(settings, model_class):
        settings[_NEGATIVES] = dict(_UNIFORM)
    if (settings.get(_NEGATIVES) or {}).get("dynamic"):
        raise MicroLensError(
            f"train_neg_sample_args: `dynamic` scores candidates while a batch is loaded, which {name} "
            "cannot without their content. Remove it."
        )


def check_modality(settings: dict, model_class: type[Any]) -> None:
    """Look whether ``item_modality`` is what the model's name says; with ``M`` it may be a part of that.

    Raises
    ------
    MicroLensError
        It contradicts the name; with the name that would be right.
    """
    if not model_class.suffix:
        return
    chosen, meant = set(settings["item_modality"]), set(model_class.item_modality)
    keeps_id = ("id" in chosen) == ("id" in meant)
    if chosen == meant or (model_class.suffix in CHOOSING and chosen and keeps_id):
        return
    by_items = {frozenset(items): suffix for suffix, items in SUFFIXES.items()}
    backbone = model_class.__name__.removesuffix(model_class.suffix)
    right = backbone + by_items.get(frozenset(chosen), "IDM" if "id" in chosen else "M")
    raise MicroLensError(
        f"item_modality: {', '.join(settings['item_modality'])} contradicts the name "
        f"{model_class.__name__}, whose items are made of {', '.join(model_class.item_modality)}. Leave it "
        f"out, or set --model={right}."
    )


def is_pairwise(settings: dict, model_class: type[Any]) -> bool:
    """Whether a model's loss compares an item with a negative one."""
    loss = settings.get("loss_type")
    return loss == "BPR" or (loss is None and getattr(model_class, "input_type", None) == InputType.PAIRWISE)
