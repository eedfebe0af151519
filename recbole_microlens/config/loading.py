"""The layers of a run's settings, and which of them a value comes from.

A later layer wins: RecBole's defaults, the protocol, the model, its encoders, the dataset, the preset, your
files, the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_microlens.config.model_class import (
    is_baseline,
    is_content_model,
    looks_at_content,
    recbole_name,
)
from recbole_microlens.config.property_files import (
    PROTOCOLS,
    model_files,
    properties_folder,
    recbole_file,
    sections_of,
)
from recbole_microlens.config.text import read_yaml
from recbole_microlens.items.modality import ENCODED, as_list
from recbole_microlens.models.backbones import OWN_BACKBONES

IN_WORDS = (
    "A later layer wins: RecBole's defaults, the protocol, the model, its encoders, the dataset, the preset, "
    "your files, the command line."
)
LAYERS = ("RecBole", "protocol", "model", "encoder", "dataset", "preset", "file", "command line")
OF_THE_USER = ("file", "command line")
# Settings that an encoder's file gives for its modality alone.
_BY_MODALITY = ("encoder_weights", "encoder_output", "finetune", "finetune_stages", "finetune_embeddings")


@dataclass(frozen=True)
class Layer:
    """Settings that come from one place.

    Attributes
    ----------
    name : str
        One of :data:`LAYERS`.
    settings : dict
        Values by key.
    file : Path, optional
        The property file or the user's file; ``None`` for the command line, and for what a model's name says.
    section : str, optional
        The name in the file that the settings stand under, if any.
    """

    name: str
    settings: dict
    file: Path | None = None
    section: str | None = None


def fold(layers: Iterable[Layer], *names: str) -> dict:
    """The settings of several layers; later wins.

    Parameters
    ----------
    layers : iterable of Layer
        Lowest first.
    names : str
        Of these layers alone; without any, of all.

    Returns
    -------
    dict
        Values by key.
    """
    merged: dict = {}
    for layer in layers:
        if not names or layer.name in names:
            merged |= layer.settings
    return merged


def origin(layers: Iterable[Layer], key: str) -> Layer | None:
    """The layer that a setting's value comes from; ``None`` if no layer has it."""
    return next((layer for layer in reversed(list(layers)) if key in layer.settings), None)


def property_layers(model: str, model_class: type[Any], dataset: str, user: dict) -> list[Layer]:
    """The layers between RecBole's defaults and the user's files.

    Parameters
    ----------
    model : str
        Its name may have a file and a section of its own.
    model_class : type
        Says what items are made of, and on which backbone the model is built.
    dataset : str
        Its name, which may have a file.
    user : dict
        All that the user gives. It chooses the protocol, the preset, and the encoders.

    Returns
    -------
    list of Layer
        Lowest first.

    Raises
    ------
    MicroLensError
        A file cannot be read.
    """
    folder, is_of_paper = properties_folder(), is_baseline(model_class)
    is_content = looks_at_content(model_class)
    kinds = [*["content"] * is_content, *["baselines"] * is_of_paper] or ["stock"]
    protocol = user.get("protocol", "microlens")
    sections = (protocol, *kinds, model)
    layers = _of_files("protocol", [folder / name for name in PROTOCOLS[protocol]], sections)
    of_dataset = _of_files("dataset", [folder / "dataset" / f"{dataset}.yaml"], sections)
    suffix = getattr(model_class, "suffix", "")
    backbone = model.removesuffix(suffix) if is_of_paper else recbole_name(model_class)
    own = model_files(model, backbone, suffix)[:1]
    if backbone in OWN_BACKBONES:  # in the place of RecBole's own file of a backbone
        layers = _of_files("RecBole", [recbole_file(backbone)]) + layers
    if not is_content and not is_of_paper:
        own = own if protocol != "recbole" else []
        return layers + _of_files("model", own, sections) + of_dataset

    made_of = as_list(model_class.item_modality)
    with_id = [folder / "content_and_id.yaml"] if "id" in made_of and len(made_of) > 1 else []
    for_kind = [folder / f"{kind}.yaml" for kind in kinds]
    layers += _of_files("model", [*for_kind[:1], *with_id, *for_kind[1:], *own], sections)
    layers.append(Layer("model", {"item_modality": made_of}))
    if not is_content:
        return layers + of_dataset
    preset = preset_layers(model_class, user)
    chosen = fold([*layers, *of_dataset, *preset]) | user
    layers += _of_encoders("encoder", folder / "encoder", layers, chosen)
    layers += of_dataset + preset
    if preset and "id" not in as_list(chosen["item_modality"]):
        layers += _of_encoders("preset", folder / user["preset"] / "encoder", layers, chosen)
    return layers


def preset_layers(model_class: type[Any], user: dict) -> list[Layer]:
    """What a ``preset`` says of a content model, whatever its encoder; none where none is asked for.

    The files are ``content.yaml`` of the preset's folder, and the one of what the model looks at: ``id``,
    ``id_and_content``, one modality, or ``several``; not every one is there.
    """
    preset = user.get("preset")
    if preset is None or not is_content_model(model_class):
        return []
    looked_at = as_list(user.get("item_modality") or model_class.item_modality)
    kind = looked_at[0] if len(looked_at) == 1 else "id_and_content" if "id" in looked_at else "several"
    folder = properties_folder() / preset
    return _of_files("preset", [folder / "content.yaml", folder / f"{kind}.yaml"])


def _of_files(name: str, files: Iterable[Path], sections: tuple[str, ...] = ()) -> list[Layer]:
    """A layer for each file that exists, and one for each of its sections that is for this model."""
    layers = []
    for path in files:
        found = sections_of(path) if path.is_file() else {}
        layers += [Layer(name, found[part], path, part) for part in (None, *sections) if found.get(part)]
    return layers


def _of_encoders(name: str, folder: Path, below: list[Layer], chosen: dict) -> list[Layer]:
    """The files of the encoders that the chosen settings name, each for its modality; of several encoders
    only what may differ from one to the other.
    """
    encoded = [modality for modality in ENCODED if modality in as_list(chosen["item_modality"])]
    layers: list[Layer] = []
    for modality in encoded:
        encoder = (len(encoded) == 1 and chosen["encoder"]) or chosen.get(f"{modality}_encoder")
        path = folder / f"{encoder}.yaml"
        if "/" in str(encoder) or not path.is_file():  # a path, the name of a hub, or one without a file
            continue
        settings = read_yaml(path)
        if len(encoded) > 1:
            known = fold([*below, *layers])
            settings = {
                key: _spread(known[key], encoded) | {modality: value}
                for key, value in settings.items()
                if key in _BY_MODALITY
            }
        layers.append(Layer(name, settings, path))
    return layers


def _spread(value, encoded: list[str]) -> dict:
    return value if isinstance(value, dict) else dict.fromkeys(encoded, value)
