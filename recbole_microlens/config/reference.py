"""All settings there are, with what each may be, means and is by default: for ``--help`` and the docs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import indent

from tabulate import tabulate

from recbole_microlens import compat
from recbole_microlens.config.property_files import (
    PROTOCOLS,
    hyperparameters,
    properties_folder,
    recbole_file,
)
from recbole_microlens.config.schema import CONTENT, MODELS, OPTIONS, PAPER, SCHEMA
from recbole_microlens.config.text import read_yaml
from recbole_microlens.models.backbones import OWN_BACKBONES
from recbole_microlens.models.baselines import BASELINES

MAIN = (
    *("preset", "protocol", "encoder", "features", "finetune", "finetune_stages", "num_frames", "frame_size"),
    *("epochs", "train_batch_size", "learning_rate", "encoder_learning_rate", "precision", "nproc", "gpu_id"),
    *("use_gpu", "worker", "activation_cache", "checkpoint_dir"),
)
_HEADS = ("setting", "default", "may be", "meaning")
_SHOWN_MODELS = 4
_STOCK, _BY_MODEL, _NONE = "; stock models: ", "by model", "none"
# Of these the property files do not say what a run has that is given none.
_SETTLED = {
    "model": _NONE,
    "dataset": _NONE,
    "protocol": "microlens",
    "item_modality": "by the suffix",
    "gpu_id": "the first that is visible",
    "show_progress": "on a terminal",
}
_NO_VALUES = {_BY_MODEL, _NONE, *_SETTLED.values()} - {"microlens"}
_COMMENTED = re.compile(r"^(\w+):[^#\n]*?(?=\s*(?:#.*)?$)", re.M)
_COLUMN = 36


@dataclass(frozen=True)
class Described:
    """A setting as the docs show it.

    Attributes
    ----------
    key, group, meaning : str
        As in the schema.
    may_be : str
        Type, choices and range in words.
    read_by : str
        Who reads it: every run, content models, or names of models.
    default : str
        The value in the property files, in words.
    """

    key: str
    group: str
    may_be: str
    meaning: str
    read_by: str
    default: str


@cache
def all_settings() -> tuple[Described, ...]:
    """The schema joined with the values in the property files.

    Returns
    -------
    tuple of Described
        In the order of the schema; then the options of the command line, which are no settings.
    """
    settings = (
        Described(key, each.group, each.kind.says, each.meaning, _readers(key), _default(key))
        for key, each in SCHEMA.items()
    )
    options = (
        Described(key, "Options of the command line", may_be, meaning, "the command line", _NONE)
        for key, (may_be, meaning) in OPTIONS.items()
    )
    return (*settings, *options)


def as_text(settings: tuple[Described, ...]) -> str:
    """Settings for a terminal, group by group."""
    lines = []
    for group, members in _grouped(settings):
        lines.append(f"\n{group} (read by {_of_group(members)})")
        for each in members:
            lines.append(f"  {each.key}: {each.default}")
            lines.append(f"      {each.meaning} ({each.may_be})")
    return "\n".join(lines).strip()


def main_settings() -> str:
    """The settings that most runs are given, for ``run --help``."""
    found = {each.key: each for each in all_settings()}
    rows = [(f"--{key}", found[key].default, found[key].meaning) for key in MAIN]
    heads = ("setting", "default", "meaning")
    table = tabulate(rows, heads, tablefmt="plain", maxcolwidths=[None, 24, 56], disable_numparse=True)
    return indent(table, "  ")


def as_markdown(settings: tuple[Described, ...]) -> str:
    """Settings for the docs, a table for each group; a ``|`` would end a cell."""
    return "\n\n".join(
        f"## {group}\n\nRead by {_of_group(members)}.\n\n{_table(members)}"
        for group, members in _grouped(settings)
    )


def with_comments(text: str) -> str:
    """A property file with the meaning of each setting as the comment behind its line."""
    lines = []
    for line in text.splitlines():
        found = _COMMENTED.match(line)
        if found and found[1] in SCHEMA:
            line = f"{found[0]:<{_COLUMN - 1}} # {SCHEMA[found[1]].meaning}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _grouped(settings: tuple[Described, ...]) -> list[tuple[str, list[Described]]]:
    groups: dict[str, list[Described]] = {}
    for each in settings:
        groups.setdefault(each.group, []).append(each)
    return list(groups.items())


def _of_group(members: list[Described]) -> str:
    return "the models named" if _is_of_models(members) else members[0].read_by


def _is_of_models(members: list[Described]) -> bool:
    return members[0].key in SCHEMA and SCHEMA[members[0].key].readers == MODELS


def _table(members: list[Described]) -> str:
    of_models = _is_of_models(members)
    rows = [_HEADS + ("read by",) * of_models, ("---",) * (len(_HEADS) + of_models)]
    for each in members:
        cells = (f"`{each.key}`", _code(each.default), each.may_be, each.meaning)
        rows.append(cells + (each.read_by,) * of_models)
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)


def _code(default: str) -> str:
    """Values as code, words about them not."""
    value, stock, of_stock = default.partition(_STOCK)
    code = f"`{value}`" if value and value not in _NO_VALUES else value
    return f"{code}{stock}`{of_stock}`" if stock else code


def _readers(key: str) -> str:
    if SCHEMA[key].readers != MODELS:
        return SCHEMA[key].readers
    names = compat.recbole_model_names() | BASELINES.keys() | OWN_BACKBONES.keys()
    models = sorted(model for model in names if key in hyperparameters(model))
    shown = ", ".join(models[:_SHOWN_MODELS]) or "models whose file does not name it"
    return shown + f" and {len(models) - _SHOWN_MODELS} more" * (len(models) > _SHOWN_MODELS)


def _default(key: str) -> str:
    """The value that stands in the property files, of stock models too where it is another there."""
    if key in _SETTLED:
        return _SETTLED[key]
    if SCHEMA[key].readers == PAPER:
        return _written(_folded(properties_folder() / "baselines.yaml").get(key))
    of_content, of_stock = (_folded(*files) for files in _files())
    if key not in of_content and key not in of_stock:
        values = _values_in_models().get(key, ())
        return values[0] if len(values) == 1 else _BY_MODEL if values else _NONE
    if SCHEMA[key].readers == CONTENT or of_content.get(key) == of_stock.get(key):
        return _written(of_content.get(key))
    return f"{_written(of_content.get(key))}{_STOCK}{_written(of_stock.get(key))}"


@cache
def _values_in_models() -> dict[str, tuple[str, ...]]:
    """By key, the values in RecBole's files of its models, each once."""
    values: dict[str, tuple[str, ...]] = {}
    for model in sorted(compat.recbole_model_names() | OWN_BACKBONES.keys()):
        for key, value in read_yaml(recbole_file(model)).items():
            if _written(value) not in values.get(key, ()):
                values[key] = (*values.get(key, ()), _written(value))
    return values


def _written(value) -> str:
    return value if isinstance(value, str) and value and value.isprintable() else json.dumps(value)


def _files() -> tuple[list[Path], list[Path]]:
    """The property files with the defaults of content models, and those of stock ones."""
    recbole, ours = compat.recbole_folder() / "properties", properties_folder()
    every = [recbole / "overall.yaml", recbole / "dataset" / "sample.yaml"]
    sequential = [recbole / "quick_start_config" / "sequential.yaml"]
    protocol = [ours / name for name in PROTOCOLS["cold"]]  # the paper's, and what stands beside it
    return every + sequential + protocol + [ours / "content.yaml"], every + protocol


@cache
def _folded(*files: Path) -> dict:
    merged: dict = {}
    for path in files:
        merged |= read_yaml(path)
    return merged
