"""The settings of ODMT, and what it needs of others: modalities, and widths that fit."""

from __future__ import annotations

from recbole_microlens.config.kinds import Kind, dropout, number, whole, word
from recbole_microlens.errors import MicroLensError

# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "kd_temperature": (number(above=0), "tau: temperature of what the modalities teach each other"),
    "kd_epochs": (
        number(0),
        "alpha: epochs until the distillation has its full weight; below 1: the weight itself",
    ),
    "id_init": (
        word("mean", "text", "image"),
        "ids start from the first tokens of both modalities, or of one",
    ),
    "merge_layers": (whole(1), "blocks of the attention that merges tokens and id"),
    "merge_heads": (whole(1), "its attention heads"),
    "merge_dropout": (dropout(), "its dropout"),
}
_MADE_OF = ("text", "image")


def check_odmt(settings: dict, name: str) -> None:
    """Look at the settings of a model that reads tokens.

    Raises
    ------
    MicroLensError
        Its items are made of something else, or a setting does not fit.
    """
    made_of = settings["item_modality"]
    content = [modality for modality in made_of if modality in _MADE_OF]
    if "id" not in made_of or not content or len(content) + 1 < len(made_of):
        raise MicroLensError(
            f"item_modality: {name} is made of id and one or both of {' and '.join(_MADE_OF)}, not of "
            f"{', '.join(made_of)}. Set e.g. [id, text, image]."
        )
    if settings["id_init"] not in ("mean", *content):
        raise MicroLensError(
            f"id_init: {settings['id_init']} is none of what the items are made of, {', '.join(content)}. "
            "Set mean or one of these."
        )
    width = settings.get("hidden_size" if "n_heads" in settings else "embedding_size")
    if width and width % settings["merge_heads"]:
        raise MicroLensError(
            f"merge_heads: {settings['merge_heads']} heads cannot share a width of {width} evenly. Change "
            "one so that it can be divided by the other."
        )
