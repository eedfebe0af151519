"""Which property files a model's settings come from, and what they say."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from recbole_microlens import compat
from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.items.modality import ENCODED
from recbole_microlens.models.content_model import ContentModel
from recbole_microlens.models.grid import grid_names
from recbole_microlens.settings_schema import SCHEMA, SETTLED
from recbole_microlens.settings_text import read_yaml

_PROTOCOLS = {"microlens": "overall.yaml", "recbole": "recbole.yaml"}
# Settings that an encoder's file gives for its modality alone.
_BY_MODALITY = ("encoder_weights", "encoder_output", "finetune", "finetune_stages", "finetune_embeddings")
PRESETS = ("published",)


def internal_settings(model: str, model_class: type, dataset: str, external: dict) -> tuple[dict, dict]:
    """The settings of our property files and RecBole's file of the model; later wins.

    The order: the protocol, RecBole's file of the backbone, ``content.yaml`` (and ``content_and_id.yaml``),
    the model's file, the files of the encoders, the dataset's file, the files of a ``preset``.

    Parameters
    ----------
    model : name of a model; its file is the first of :func:`model_files`.
    external : what the user gives, which may name the encoder.

    Returns
    -------
    All settings, and those that come after RecBole's file.

    Raises
    ------
    MicroLensError
        An unknown ``protocol`` or ``preset``, or a file that cannot be read.
    """
    backbone, is_content = recbole_name(model_class), is_content_model(model_class)
    protocol = external.get("protocol", "microlens")
    if protocol not in _PROTOCOLS:
        raise MicroLensError(f"protocol: '{protocol}' is unknown. Set one of: {', '.join(_PROTOCOLS)}.")
    folder = properties_folder()
    sections = ("content" if is_content else "stock", model)
    recboles = _merged([folder / _PROTOCOLS[protocol], recbole_file(backbone)], sections)
    files = [folder / "content.yaml"] * is_content
    if is_content and "id" in model_class.item_modality and len(model_class.item_modality) > 1:
        files.append(folder / "content_and_id.yaml")
    if is_content or protocol == "microlens":
        files += model_files(model, backbone, getattr(model_class, "suffix", ""))[:1]
    ours = _merged(files, sections)
    of_dataset = _merged([folder / "dataset" / f"{dataset}.yaml"], sections)
    if is_content:
        ours["item_modality"] = list(model_class.item_modality)
        preset = preset_settings(model_class, external)
        final = ours | of_dataset | preset | external
        ours |= _encoder_settings(ours, final, folder) | of_dataset | preset
        if preset and "id" not in _names(final["item_modality"]):
            ours |= _encoder_settings(ours, final, folder / external["preset"])
    else:
        ours |= of_dataset
    return recboles | ours, ours


def preset_settings(model_class: type, external: dict) -> dict:
    """What a ``preset`` says of a content model, whatever its encoder: empty where none is asked for.

    The files are ``content.yaml`` of the preset's folder, and the one of what the model looks at: ``id``,
    ``id_and_content``, one modality, or ``several``; not every one is there.

    Raises
    ------
    MicroLensError
        There is no such preset.
    """
    preset = external.get("preset")
    if preset is None:
        return {}
    if preset not in PRESETS:
        near = did_you_mean(str(preset), PRESETS)
        raise MicroLensError(f"preset: '{preset}' is unknown.{near} Set one of: {', '.join(PRESETS)}.")
    looked_at = _names(external.get("item_modality") or model_class.item_modality)
    kind = looked_at[0] if len(looked_at) == 1 else "id_and_content" if "id" in looked_at else "several"
    folder = properties_folder() / preset
    return _merged([folder / "content.yaml", folder / f"{kind}.yaml"], ())


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


def _encoder_settings(below: dict, final: dict, folder: Path) -> dict:
    """The files of the encoders that the final settings name, each for its modality; of several encoders
    only what may differ from one to the other.
    """
    encoded = [name for name in ENCODED if name in _names(final["item_modality"] or ())]
    found: dict = {}
    for modality in encoded:
        encoder = (len(encoded) == 1 and final["encoder"]) or final.get(f"{modality}_encoder")
        path = folder / "encoder" / f"{encoder}.yaml"
        is_ours = "/" not in str(encoder) and path.is_file()  # No path, and no name of a hub.
        for key, value in (read_yaml(path) if is_ours else {}).items():
            if len(encoded) > 1:
                if key not in _BY_MODALITY:
                    continue
                value = dict.fromkeys(encoded, below[key]) | found.get(key, {}) | {modality: value}
            found[key] = value
    return found


def _names(named) -> tuple[str, ...]:
    return (named,) if isinstance(named, str) else tuple(named)


def recbole_file(model: str) -> Path:
    """RecBole's own property file of a stock model."""
    return compat.recbole_folder() / "properties" / "model" / f"{model}.yaml"


@cache
def hyperparameters(model: str) -> frozenset[str]:
    """The settings in RecBole's own file of a stock model; none for a model of the user's own."""
    path = recbole_file(model)
    return frozenset(read_yaml(path) if path.is_file() else ())


def recbole_name(model_class: type) -> str:
    """Name of the stock model that a model is, or is built on."""
    names = compat.recbole_model_names()
    return next((c.__name__ for c in model_class.__mro__ if c.__name__ in names), model_class.__name__)


def is_content_model(model_class: type) -> bool:
    """Does a model take its items from content (or from ids under the same protocol)?"""
    return issubclass(model_class, ContentModel)


@cache
def known_keys() -> frozenset[str]:
    """Every key of the schema, and those that a property file or RecBole's code knows beside."""
    keys = set(compat.recbole_config_keys()) | SCHEMA.keys() | SETTLED.keys()
    for path in properties_folder().rglob("*.yaml"):
        settings, sections = _without_sections(read_yaml(path))
        keys.update(settings, *sections.values())
    return frozenset(keys)


def content_keys() -> set[str]:
    """The keys that only content models read."""
    keys = set(read_yaml(properties_folder() / "content.yaml")) | {"item_modality"}
    return keys - compat.recbole_config_keys()


@cache
def properties_folder() -> Path:
    """Folder of our property files: inside an installed wheel, or at the top of a checkout."""
    inside = Path(__file__).parent / "properties"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "properties"


def _merged(files: list[Path], sections: tuple[str, ...]) -> dict:
    """The settings of several files, those that exist; later wins, and a section over what is for all."""
    merged: dict = {}
    for path in files:
        if path.is_file():
            for_all, by_section = _without_sections(read_yaml(path))
            merged |= for_all
            for section in sections:
                merged |= by_section.get(section) or {}
    return merged


def _without_sections(settings: dict) -> tuple[dict, dict[str, dict]]:
    """Part a file into settings for all, and those under a model's name, ``content`` or ``stock``."""
    names = {"content", "stock"} | grid_names() | compat.recbole_model_names()
    for_all = {key: value for key, value in settings.items() if key not in names}
    return for_all, {key: value for key, value in settings.items() if key in names}
