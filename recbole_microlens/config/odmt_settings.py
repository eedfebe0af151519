"""What ODMT needs of its settings: files of tokens, and widths that fit."""

from __future__ import annotations

from recbole_microlens.errors import MicroLensError

_MADE_OF = ("text", "image")


def check_odmt(settings: dict, name: str) -> None:
    """Look at the settings of a model that reads tokens.

    Raises
    ------
    MicroLensError
        Its items are made of something else; a modality has no file of tokens; or a setting does not fit.
    """
    made_of = settings["item_modality"]
    content = [modality for modality in made_of if modality in _MADE_OF]
    if "id" not in made_of or not content or len(content) + 1 < len(made_of):
        raise MicroLensError(
            f"item_modality: {name} is made of id and one or both of {' and '.join(_MADE_OF)}, not of "
            f"{', '.join(made_of)}. Set e.g. [id, text, image]."
        )
    given = settings["features"]
    files = given if isinstance(given, dict) else dict.fromkeys(content[:1], given) if given else {}
    missing = [modality for modality in content if not files.get(modality)]
    if missing:
        raise MicroLensError(
            f"features: {name} reads files of tokens, and none is given for {' and '.join(missing)}. Make "
            f"one for each: recbole-microlens extract --tokens --dataset DATASET --encoder ENCODER; "
            f'then give --features="{{{", ".join(f"{each!r}: FILE" for each in content)}}}".'
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
