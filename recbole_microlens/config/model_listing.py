"""The grid of models as text, for the command line and the README."""

from __future__ import annotations

from tabulate import tabulate

from recbole_microlens.config.property_files import properties_folder
from recbole_microlens.models.backbones import (
    CHOOSING,
    NOT_CONVERTIBLE,
    SUFFIXES,
    backbones,
    is_at_every_position,
    is_grid_name,
)
from recbole_microlens.models.baselines import BASELINES
from recbole_microlens.models.odmt import NAMES as ODMT_NAMES

# Output tables of more than one number an item: they stay by id whatever the suffix.
_NOTES = {
    "GRU4RecCPR": "with `use_out_emb` the output table stays by id",
    "HGN": "its output table stays by id",
    "HSTU": "not RecBole's; without a suffix it is trained at the last position, by `loss_type`",
    "LiGR": "not RecBole's: SASRec with the blocks of eSASRec; without a suffix as HSTU",
    "YouTube": "not RecBole's: a reconstruction, which comes with a suffix alone",
}
# Backbones that the paper does not have; their files follow those of SASRec.
_NOT_OF_PAPER = ("HSTU", "LiGR")


def tuned_models() -> list[str]:
    """The models of the paper with a suffix that have a property file of their own."""
    paths = sorted((properties_folder() / "model").glob("*.yaml"))
    names = [path.stem for path in paths if not path.stem.startswith(_NOT_OF_PAPER)]
    return [name for name in names if is_grid_name(name) or name in BASELINES]


def format_models(markdown: bool = False) -> str:
    """What can be built: suffixes, backbones and how each is trained, and what takes no suffix.

    Parameters
    ----------
    markdown : bool, default False
        Tables for the README instead of plain ones.
    """
    style = "github" if markdown else "simple"
    tables = [
        (("suffix", "an item is made of", "example"), _suffix_rows()),
        (("backbone", "trained at", "loss", "note"), _backbone_rows()),
        (("baseline of the paper", "an item is made of", "what it is"), _baseline_rows()),
        (("takes no suffix", "because"), sorted(NOT_CONVERTIBLE.items())),
    ]
    text = [
        "A model is a sequential model of RecBole and a suffix; the name alone is RecBole's own.",
        f"With the settings of the paper: {', '.join(tuned_models())}.",
        f"On tokens of titles and covers (`extract --tokens`): {', '.join(ODMT_NAMES)}.",
    ]
    return "\n\n".join(text + [tabulate(rows, headers, tablefmt=style) for headers, rows in tables])


def _suffix_rows() -> list[tuple]:
    chosen = " (`item_modality` may choose some)"
    return [
        (suffix, ", ".join(items) + chosen * (suffix in CHOOSING), f"SASRec{suffix}")
        for suffix, items in SUFFIXES.items()
    ]


def _baseline_rows() -> list[tuple]:
    return [
        (name, ", ".join(model.item_modality), (model.__doc__ or "").splitlines()[0].rstrip("."))
        for name, model in sorted(BASELINES.items())
    ]


def _position(name: str) -> str:
    if is_at_every_position(name):
        return "every position"
    return "masked positions" if name == "BERT4Rec" else "the last position"


def _backbone_rows() -> list[tuple]:
    ordered = sorted(backbones(), key=lambda name: (not is_at_every_position(name), name))
    return [
        (
            name,
            _position(name),
            "in-batch softmax" if is_at_every_position(name) else "its own, over the items of the batch",
            _NOTES.get(name, ""),
        )
        for name in ordered
    ]
