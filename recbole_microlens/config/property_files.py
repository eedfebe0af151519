"""The property files: where they lie, which of them a model has, and what their sections say."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from recbole_microlens import compat
from recbole_microlens.config.text import read_yaml
from recbole_microlens.models.backbones import OWN_BACKBONES, grid_names
from recbole_microlens.models.baselines import BASELINES
from recbole_microlens.models.odmt import NAMES as ODMT_NAMES

# The choices of `protocol`, each with its files, lowest first; the choices of `preset` and its folders.
PROTOCOLS = {
    "microlens": ("overall.yaml",),
    "recbole": ("recbole.yaml",),
    "cold": ("overall.yaml", "cold.yaml"),
}
PRESETS = ("published",)
PAPER_TABLES = "paper_tables.yaml"  # figures, not settings


@cache
def properties_folder() -> Path:
    """Folder of our property files: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "properties"
    return inside if inside.is_dir() else package.parent / "properties"


def property_files() -> list[Path]:
    """All files of settings."""
    return [path for path in properties_folder().rglob("*.yaml") if path.name != PAPER_TABLES]


def recbole_file(model: str) -> Path:
    """RecBole's own property file of a stock model; ours of a backbone that RecBole does not have."""
    if model in OWN_BACKBONES:
        return properties_folder() / "backbone" / f"{model}.yaml"
    return compat.recbole_folder() / "properties" / "model" / f"{model}.yaml"


@cache
def hyperparameters(model: str) -> frozenset[str]:
    """The settings in the file of a stock model or a baseline; none for a model of the user's own."""
    paths = [recbole_file(model)]
    if model in BASELINES:
        suffix = BASELINES[model].suffix
        paths = model_files(model, model.removesuffix(suffix), suffix)[:1]
    return frozenset(key for path in paths if path.is_file() for key in read_yaml(path))


def model_files(model: str, backbone: str, suffix: str) -> list[Path]:
    """The property files that a model may have, nearest first; only those that exist.

    Its own; that of the backbone with ``IDV``, if ids and content are put together; that of the backbone with
    ``V``, but not for ids alone. ``SASRecT`` has what ``SASRecV`` has unless there is a ``SASRecT.yaml``.
    """
    names = [model]
    if suffix and suffix != "ID":
        names += [backbone + "IDV"] * suffix.startswith("ID") + [backbone + "V"]
    paths = [properties_folder() / "model" / f"{name}.yaml" for name in names]
    return [path for path in paths if path.is_file()]


def sections_of(path: Path) -> dict[str | None, dict]:
    """The settings of a file by section: those for all under ``None``, then those under the name of a
    protocol or a model, ``content``, ``baselines`` or ``stock``.
    """
    of_kinds = {"content", "baselines", "stock", *PROTOCOLS}
    ours = BASELINES.keys() | set(ODMT_NAMES) | grid_names()
    names = of_kinds | ours | compat.recbole_model_names() | OWN_BACKBONES.keys()
    settings = read_yaml(path)
    for_all = {key: value for key, value in settings.items() if key not in names}
    return {None: for_all} | {key: value or {} for key, value in settings.items() if key in names}
