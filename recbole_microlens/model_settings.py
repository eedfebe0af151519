"""What a model's kind settles among its settings: its width, its modalities, its loss and negatives."""

from __future__ import annotations

from recbole.utils import InputType

from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.every_position import EveryPositionModel
from recbole_microlens.models.grid import CHOOSING, SUFFIXES
from recbole_microlens.property_files import read_yaml, recbole_file, recbole_name

_WIDTHS = ("hidden_size", "embedding_size")


def settle_width(settings: dict, model_class: type, levels: list[dict]) -> None:
    """Let ``hidden_size`` and ``embedding_size`` mean one thing: the width of items and states.

    RecBole's models read one or the other, GRU4Rec both. Where only one is given, it holds for both; the one
    that the backbone does not read is removed.

    Parameters
    ----------
    levels : settings that somebody but RecBole gives, highest first. The highest that has a width counts.

    Raises
    ------
    MicroLensError
        Two widths are given for a backbone that has one.
    """
    backbone = recbole_name(model_class)
    path = recbole_file(backbone)
    read = [word for word in _WIDTHS if path.is_file() and word in read_yaml(path)]
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


def settle_loss(settings: dict, model_class: type, given: dict) -> None:
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
    elif "train_neg_sample_args" not in given and is_pairwise(settings, model_class):
        settings["train_neg_sample_args"] = {"distribution": "uniform", "sample_num": 1}
    if (settings.get("train_neg_sample_args") or {}).get("dynamic"):
        raise MicroLensError(
            f"train_neg_sample_args: `dynamic` scores candidates while a batch is loaded, which {name} "
            "cannot without their content. Remove it."
        )


def check_modality(settings: dict, model_class: type) -> None:
    """Look whether ``item_modality`` is what the model's name says; with ``M`` it may be a part of that.

    Raises
    ------
    MicroLensError
        It contradicts the name; with the name that would be right.
    """
    if not model_class.suffix:
        return
    named = settings["item_modality"]
    chosen, meant = set([named] if isinstance(named, str) else named), set(model_class.item_modality)
    keeps_id = ("id" in chosen) == ("id" in meant)
    if chosen == meant or (model_class.suffix in CHOOSING and chosen < meant and keeps_id):
        return
    by_items = {frozenset(items): suffix for suffix, items in SUFFIXES.items()}
    right = recbole_name(model_class) + by_items.get(frozenset(chosen), "IDM" if "id" in chosen else "M")
    raise MicroLensError(
        f"item_modality: {named} contradicts the name {model_class.__name__}, whose items are made of "
        f"{', '.join(model_class.item_modality)}. Leave it out, or set --model={right}."
    )


def is_pairwise(settings: dict, model_class: type) -> bool:
    """Whether a model's loss compares an item with a negative one."""
    loss = settings.get("loss_type")
    return loss == "BPR" or (loss is None and getattr(model_class, "input_type", None) == InputType.PAIRWISE)
