"""The grid of models: RecBole's sequential models and ours as backbones, and suffixes for what an item is."""

from __future__ import annotations

from functools import cache

from recbole.model import sequential_recommender
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_microlens import compat
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.every_position import EveryPositionModel, NextItNetAtRealItems
from recbole_microlens.models.hstu import HSTU
from recbole_microlens.models.last_position import LastPositionModel, MaskedItemModel
from recbole_microlens.models.last_state import LastState
from recbole_microlens.models.ligr import LiGR
from recbole_microlens.models.youtube import YouTube

SUFFIXES: dict[str, tuple[str, ...]] = {
    "V": ("video",),
    "I": ("image",),
    "T": ("text",),
    "A": ("audio",),
    "M": ("text", "image", "video"),
    "ID": ("id",),
    "IDV": ("id", "video"),
    "IDI": ("id", "image"),
    "IDT": ("id", "text"),
    "IDA": ("id", "audio"),
    "IDM": ("id", "text", "image", "video"),
}
# With these `item_modality` may choose some of the modalities, sound too.
CHOOSING = ("M", "IDM")

# Backbones that RecBole does not have.
OWN_BACKBONES: dict[str, type] = {"HSTU": HSTU, "LiGR": LiGR, "YouTube": YouTube}

_MIXINS = {
    "SASRec": EveryPositionModel,
    "GRU4Rec": EveryPositionModel,
    "NextItNet": NextItNetAtRealItems,
    "HSTU": EveryPositionModel,
    "LiGR": EveryPositionModel,
    "YouTube": EveryPositionModel,
    "BERT4Rec": MaskedItemModel,
}

# Parameters with a row for each item besides `item_embedding`; they stay by id.
ITEM_ROWS = {
    "BERT4Rec": ("output_bias",),
    "GRU4RecCPR": ("out_item_embedding.weight",),
    "HGN": ("item_embedding_for_prediction.weight",),
    "TransRec": ("bias.weight",),
}

# Parameters with a row for each user, and one with a row for each item that NPE never reads.
USER_ROWS = {
    "Caser": ("user_embedding.weight",),
    "FOSSIL": ("user_lambda.weight",),
    "HGN": ("user_embedding.weight",),
    "HRM": ("user_embedding.weight",),
    "NPE": ("user_embedding.weight", "embedding_seq_item.weight"),
    "SHAN": ("user_embedding.weight",),
    "TransRec": ("user_embedding.weight",),
}

# Their score depends on who the user is, not on the history alone.
KNOW_USERS = frozenset({"Caser", "DIEN", "DIN", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"})

_FEATURES = "it looks up columns of item features by item id inside its forward pass, and needs these columns"
_KNOWLEDGE = "it needs pretrained embeddings of a knowledge graph"
_NO_TABLE = "it keeps no items in an `item_embedding`"
NOT_CONVERTIBLE = {
    "DIEN": f"{_NO_TABLE}: it embeds all columns of the data as features of a click",
    "DIN": f"{_NO_TABLE}: it embeds all columns of the data as features of a click",
    "FDSA": _FEATURES,
    "FEARec": "its contrastive loss draws sequences from the whole dataset, whose items are not in the batch",
    "FPMC": f"{_NO_TABLE}: it factorises transitions with three tables of ids",
    "GRU4RecF": _FEATURES,
    "GRU4RecKG": _KNOWLEDGE,
    "KSR": _KNOWLEDGE,
    "RepeatNet": f"{_NO_TABLE}: its probabilities are scattered over all item ids",
    "S3Rec": "it is pretrained on item attributes in a run of its own, and loads that run's weights",
    "SASRecF": _FEATURES,
}


@cache
def sequential_models() -> dict[str, type]:
    """All sequential models of the installed RecBole, by name."""
    found = vars(sequential_recommender).values()
    models = [c for c in found if isinstance(c, type) and issubclass(c, SequentialRecommender)]
    return {model.__name__: model for model in sorted(models, key=lambda model: model.__name__)}


def backbones() -> dict[str, type]:
    """The sequential models that take a suffix, by name."""
    of_recbole = {name: model for name, model in sequential_models().items() if name not in NOT_CONVERTIBLE}
    return of_recbole | OWN_BACKBONES


def runs_alone(backbone: str) -> bool:
    """Whether one of :data:`OWN_BACKBONES` has a loss of its own, and so is a model without a suffix too."""
    return issubclass(OWN_BACKBONES[backbone], LastState)


def is_at_every_position(backbone: str) -> bool:
    """Is a backbone trained at every position, or as RecBole trains it?"""
    return issubclass(_MIXINS.get(backbone, LastPositionModel), EveryPositionModel)


@cache
def grid_names() -> frozenset[str]:
    """Every name that backbone and suffix give."""
    return frozenset(backbone + suffix for backbone in backbones() for suffix in SUFFIXES)


def is_grid_name(name: str) -> bool:
    """Is this the name of a content model that can be built?"""
    return name in grid_names()


@cache
def content_class(name: str) -> type:
    """The class of a backbone with a suffix, such as ``GRU4RecV``; the same object for the same name.

    Raises
    ------
    MicroLensError
        The name is a RecBole model with a suffix, but that model cannot be converted; with the reason.
    KeyError
        The name is none of backbone and suffix.
    """
    backbone, suffix = split_name(name)
    if backbone not in backbones():
        raise MicroLensError(
            f"model: there is no '{name}': {backbone} takes no suffix, because {reason_against(backbone)}. "
            "Run `recbole-microlens models` for those that do."
        )
    whose = "" if backbone in OWN_BACKBONES else "RecBole's "
    attributes = {
        "__module__": "recbole_microlens.models",
        "__doc__": f"{whose}{backbone} on items made of {', '.join(SUFFIXES[suffix])}.",
        "suffix": suffix,
        "item_modality": SUFFIXES[suffix],
        "item_rows": ITEM_ROWS.get(backbone, ()),
    }
    return type(name, (_MIXINS.get(backbone, LastPositionModel), backbones()[backbone]), attributes)


def split_name(name: str) -> tuple[str, str]:
    """Backbone and suffix of a name; the longest suffix that leaves the name of a RecBole model.

    Raises
    ------
    KeyError
        No suffix does.
    """
    known = compat.recbole_model_names() | sequential_models().keys() | OWN_BACKBONES.keys()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        backbone = name.removesuffix(suffix)
        if backbone != name and backbone in known:
            return backbone, suffix
    raise KeyError(name)


def reason_against(backbone: str) -> str:
    """Why a stock model takes no suffix."""
    return NOT_CONVERTIBLE.get(
        backbone, "it is not a sequential model, and content is for items of sequences"
    )
