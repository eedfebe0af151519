"""The table of the paper's baselines that are no backbone with a suffix."""

from __future__ import annotations

from recbole_microlens.models.backbones import SUFFIXES
from recbole_microlens.models.baseline_model import Baseline
from recbole_microlens.models.deepfm import DeepFMID
from recbole_microlens.models.dssm import DSSMID, DSSMIDV
from recbole_microlens.models.grcn import GRCNID, GRCNIDV
from recbole_microlens.models.lightgcn import LightGCNID
from recbole_microlens.models.mmgcn import MMGCNID, MMGCNIDV
from recbole_microlens.models.nfm import NFMID

# The class of IDV, and the other suffixes that it takes: features are features.
_WITH_FEATURES: dict[type[Baseline], tuple[str, ...]] = {
    DSSMIDV: ("IDI", "IDT", "IDM"),
    MMGCNIDV: ("IDI", "IDT", "IDM"),
    GRCNIDV: ("IDI", "IDT", "IDM"),
}


def _on(model: type[Baseline], suffix: str) -> type[Baseline]:
    attributes = {
        "__module__": model.__module__,
        "__doc__": f"{model.__name__} with features of {', '.join(SUFFIXES[suffix][1:])} in their place.",
        "suffix": suffix,
        "item_modality": SUFFIXES[suffix],
    }
    return type(model.__name__.removesuffix(model.suffix) + suffix, (model,), attributes)


_ALL: list[type[Baseline]] = [
    DSSMID,
    LightGCNID,
    NFMID,
    DeepFMID,
    MMGCNID,
    GRCNID,
    *_WITH_FEATURES,
    *(_on(model, suffix) for model, suffixes in _WITH_FEATURES.items() for suffix in suffixes),
]
BASELINES: dict[str, type[Baseline]] = {model.__name__: model for model in _ALL}
