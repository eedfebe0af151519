"""The setting of ``protocol: cold``, and what this protocol needs of others."""

from __future__ import annotations

from typing import Any

from recbole_microlens.config.kinds import Kind, number, shown
from recbole_microlens.config.model_class import recbole_name
from recbole_microlens.errors import MicroLensError

COLD = "cold"
# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "cold_cut": (
        number(above=0, below=1),
        "of protocol cold: training ends when this share of the interactions has taken place",
    ),
}
_EVAL_ARGS: dict[str, Any] = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO"}
# Models of RecBole that draw items by themselves, among all that there are.
_DRAW_THEMSELVES = {"DIEN": "sequences of negative items", "S3Rec": "negative items", "KGNNLS": "items"}


def check_cold(settings: dict, model_class: type[Any]) -> None:
    """Look whether training can be kept free of cold items, and whether all items are ranked.

    Raises
    ------
    MicroLensError
        ``cold_cut`` without the protocol; another split, or sampled ranking; a model that draws items by
        itself.
    """
    if settings.get("protocol") != COLD:
        if settings.get("cold_cut") is not None:
            raise MicroLensError(
                f"cold_cut: {settings['cold_cut']} is read under --protocol=cold alone. Add that, or leave "
                "cold_cut out."
            )
        return
    _check_split(settings)
    name = recbole_name(model_class)
    what = _DRAW_THEMSELVES.get(name)
    if settings.get("transform") == "mask_itemseq" and settings.get("loss_type") == "BPR":
        what = "a negative item for each mask (`loss_type`: BPR)"
    if what:
        raise MicroLensError(
            f"protocol: under `cold` no cold item may occur in training, and {name} draws {what} among all "
            "items. Choose another model or loss."
        )


def _check_split(settings: dict) -> None:
    if settings.get("benchmark_filename") is not None:
        raise MicroLensError(
            "benchmark_filename: `protocol: cold` splits the interactions by itself, at a time. Leave it out."
        )
    given = settings["eval_args"]
    mode = given.get("mode", "full")
    modes = set(mode.values() or ["full"]) if isinstance(mode, dict) else {mode}
    if modes != {"full"} or any(given.get(key) != value for key, value in _EVAL_ARGS.items()):
        raise MicroLensError(
            f"eval_args: {shown(given)} is not what `protocol: cold` means: its split is by time, and it "
            "ranks all items. Leave it out."
        )
