"""Configs of ``transformers``: where they come from, and what is read off them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from logging import getLogger
from pathlib import Path
from typing import TypeVar

from torch import nn

from recbole_microlens.compat.hub import require_hub
from recbole_microlens.encoders.position_interpolation import Grid
from recbole_microlens.encoders.transformers.audio_families import audio_family, sound_tower
from recbole_microlens.encoders.transformers.families import FAMILIES, UNKNOWN, Family
from recbole_microlens.encoders.transformers.kinds import USABLE, require_config, require_known
from recbole_microlens.encoders.weights import WITHOUT_DOWNLOAD
from recbole_microlens.errors import MicroLensError, explained, first_line

Loaded = TypeVar("Loaded")
# Where the config of a model of several towers keeps that of pictures or videos, the outermost first.
_TOWERS = ("audio_video_config", "video_config", "vision_config")


def config_of(model_type: str, **settings):
    """The config of an architecture with these settings."""
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **settings)


def config_at(source: str, setting: str = "encoder", modality: str | None = None):
    """The config in a folder or on the hub; of a model of texts and pictures, that of one of its towers.

    Parameters
    ----------
    source : str
        A folder or a hub id.
    setting : str
        The setting that asks for it, the start of a message.
    modality : {'video', 'image', 'text'}, optional
        What it is to look at: ``text`` takes the language model of a model of texts and pictures, all else
        its picture tower.

    Raises
    ------
    MicroLensError
        It is neither here nor can it be downloaded, or it is of a kind that cannot be used.
    """
    from transformers import AutoConfig, PretrainedConfig

    require_config(source, setting)

    def load(local: bool):
        said, _ = PretrainedConfig.get_config_dict(source, local_files_only=local)
        require_known(source, setting, said)
        return AutoConfig.from_pretrained(source, local_files_only=local, trust_remote_code=False)

    return with_family_settings(sound_tower(_tower(fetched(setting, source, load), modality)))


def _tower(config, modality: str | None):
    """Of a model of several towers its language model for text, else the one of pictures or videos."""
    if modality == "text":
        return getattr(config, "text_config", config)
    while config.model_type not in FAMILIES:
        below = [getattr(config, name) for name in _TOWERS if getattr(config, name, None) is not None]
        if not below:
            break
        config = below[0]
    return config


def with_family_settings(config):
    """The config with the common names of its settings, and with those that it lacks."""
    family = family_of(config)
    if family.names:
        config.attribute_map = {**config.attribute_map, **family.names}
    for key, value in family.added(config).items():
        if not hasattr(config, key):
            setattr(config, key, value)
    return config


def fetched(what: str, source: str, load: Callable[[bool], Loaded]) -> Loaded:
    """Call ``load(local_files_only)``: what is on this machine is taken from it, the rest is downloaded once.

    Parameters
    ----------
    what : str
        The setting that asks for it, the start of a message.
    source : str
        A folder or a hub id.
    load : callable

    Raises
    ------
    MicroLensError
        It is neither here nor can it be downloaded, or the folder does not hold it.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    with (
        quiet(),
        explained(f"{what}: cannot load {source}", "Use another folder or hub id; code in it is never run."),
    ):
        try:
            return load(True)
        except OSError as error:
            missing = error
        if Path(source).exists():
            raise MicroLensError(
                f"{what}: {source} cannot be loaded ({first_line(missing)}). Give a folder "
                "that save_pretrained of transformers wrote."
            ) from missing
        try:
            require_hub(source)
            return load(False)
        except OSError as error:
            raise MicroLensError(
                f"{what}: {source} is no folder here, is not in the cache {HF_HUB_CACHE}, and cannot be "
                f"downloaded ({first_line(error)}). Give the path of a folder that holds it, fill the cache "
                "on a machine with network, or set `encoder_weights: none` and an `encoder` of "
                f"`recbole-microlens encoders` (for titles bert_bytes, which needs no tokenizer file). "
                f"{WITHOUT_DOWNLOAD}"
            ) from error


def optional_file(source: str, names: tuple[str, ...]) -> Path | None:
    """The first of these files that a folder or hub id holds; ``None`` if it holds none."""
    if Path(source).is_dir():
        return next((Path(source) / name for name in names if (Path(source) / name).is_file()), None)
    from transformers.utils import cached_file

    def load(local: bool) -> str | None:
        options = {"local_files_only": local, "_raise_exceptions_for_missing_entries": False}
        found = next(filter(None, (cached_file(source, name, **options) for name in names)), None)
        if local and found is None:
            raise OSError(f"{source} has no {names[0]} in the cache")
        return found

    found = fetched("encoder", source, load)
    return Path(found) if found else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's reports of every load out of the log: what matters in them is an error here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def model_class(config) -> type[nn.Module]:
    """The class that ``AutoModel`` builds for a config; of an encoder-decoder its encoder alone.

    Raises
    ------
    MicroLensError
        There is none.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

    mapping = MODEL_FOR_TEXT_ENCODING_MAPPING if config.is_encoder_decoder else MODEL_MAPPING
    named = family_of(config).network
    if named:
        return getattr(import_module(type(config).__module__.replace(".configuration_", ".modeling_")), named)
    if type(config) not in mapping:
        kind = " that runs its encoder alone" if config.is_encoder_decoder else ""
        only = ", which only generates" if _generates(config) else ""
        raise MicroLensError(
            f"encoder: transformers has no model{kind} for the architecture '{config.model_type}'{only}. "
            f"{USABLE}"
        )
    found = mapping[type(config)]
    return found[0] if isinstance(found, list | tuple) else found


def _generates(config) -> bool:
    """Whether the library writes text, pictures or sound with a model of this config."""
    from transformers.models.auto import modeling_auto

    kinds = (
        "CAUSAL_LM",
        "SEQ_TO_SEQ_CAUSAL_LM",
        "TEXT_TO_WAVEFORM",
        "TEXT_TO_SPECTROGRAM",
        "IMAGE_TEXT_TO_TEXT",
    )
    return any(type(config) in getattr(modeling_auto, f"MODEL_FOR_{kind}_MAPPING") for kind in kinds)


def model_options(cls: type[nn.Module]) -> dict:
    """Arguments of the class that leave out the pooler, which nothing here uses."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}


def family_of(config) -> Family:
    """What the tables say of a config's architecture."""
    return audio_family(config) or FAMILIES.get(config.model_type, UNKNOWN)


def fit(config, frames: int, size: int):
    """The config for clips of ``frames`` pictures of ``size`` pixels, with what the architecture needs.

    Raises
    ------
    MicroLensError
        A shape that the network cannot take.
    """
    family = family_of(config)
    for key, value in family.settings.items():
        if hasattr(config, key):
            setattr(config, key, value)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    if hasattr(config, "image_size"):
        config.image_size = _like(config.image_size, _fitting_size(config, family, size))
    if hasattr(config, "num_frames"):
        tubelet = patch_of(config)[0]
        if frames < tubelet:
            raise MicroLensError(
                f"num_frames: {config.model_type} takes {tubelet} frames at once, {frames} are too few. Set "
                f"num_frames >= {tubelet}."
            )
        if frames % tubelet:
            _say_frames_left_out(config.model_type, frames, tubelet)
        config.num_frames = frames
    if family.fitted:
        family.fitted(config)
    return config


def grid_of(config) -> Grid | None:
    """Patches of a clip or picture: over time, height and width; None of a network that takes none."""
    if not hasattr(config, "image_size"):
        return None
    tubelet, patch = patch_of(config)
    size = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
    return max(getattr(config, "num_frames", 1) // tubelet, 1), size // patch, size // patch


def patch_of(config) -> tuple[int, int]:
    """Frames and pixels of a patch."""
    tubelet = getattr(config, "tubelet_size", 1)
    if isinstance(tubelet, list | tuple):
        return tubelet[0], tubelet[1]
    patch = getattr(config, "patch_size", 1)
    return tubelet, patch if isinstance(patch, int) else patch[-1]


def next_multiple(size: int, patch: int) -> int:
    """The least multiple of ``patch`` that is no less than ``size``."""
    return -(-size // patch) * patch


@cache
def _say_frames_left_out(model_type: str, frames: int, tubelet: int) -> None:
    whole = frames - frames % tubelet
    getLogger().warning(
        "num_frames: %s takes %d frames at once: of %d it looks at the first %d. Set `num_frames` to %d or "
        "%d to lose none.",
        model_type, tubelet, frames, whole, whole, whole + tubelet,
    )  # fmt: skip


def _fitting_size(config, family: Family, size: int) -> int:
    patch = patch_of(config)[1] * getattr(config, "spatial_merge_size", 1)
    fitting = next_multiple(size, patch)
    if fitting != size and not family.resizes:
        raise MicroLensError(
            f"frame_size: {config.model_type} cuts pictures into patches of {patch} pixels, {size} is no "
            f"multiple of that. Set `frame_size` to {max(fitting - patch, patch)} or {fitting}."
        )
    if fitting != size:
        getLogger().warning(
            "frame_size: %s cuts pictures into patches of %d pixels: enlarging %d to %d.",
            config.model_type, patch, size, fitting,
        )  # fmt: skip
    return fitting


def _like(old: object, size: int) -> object:
    return [size, size] if isinstance(old, list | tuple) else size
