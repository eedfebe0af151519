"""The setting of side features, and which models take them."""

from __future__ import annotations

from typing import Any

from recbole_microlens.config.kinds import Kind, many, or_null, shown, word
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.side_features import SIDE_FEATURES


def _each_once() -> Kind:
    some = many(word(*SIDE_FEATURES))

    def fault(value):
        wrong = some.fault(value)
        if not wrong and len(set(value)) < len(value):
            return f"{shown(value)} has one twice. Write [{', '.join(SIDE_FEATURES)}]."
        return wrong

    return Kind(some.says, fault)


# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "side_features": (
        or_null(_each_once()),
        "added to the embedding of the id: pop, one of ten groups by training count; tag",
    ),
}


def check_side_features(settings: dict, model_class: type[Any]) -> None:
    """Raise a :class:`MicroLensError` if side features are asked of a model that looks at no ids."""
    if settings.get("side_features") and ("id" not in settings["item_modality"] or model_class.reads_tokens):
        raise MicroLensError(
            f"side_features: {settings['side_features']} are added to the embedding of an id, which "
            f"{model_class.__name__} does not have in this form. Remove it, or set --model=SASRecID."
        )
