"""A row for a network of Hugging Face ``transformers``, and how the network is built from it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger

from torch import Tensor, nn
from torch.nn.functional import interpolate

from recbole_microlens.encoders.positions import Grid
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.transformers_families import FAMILIES, PLAIN, Family
from recbole_microlens.encoders.transformers_load import load_transformer
from recbole_microlens.encoders.transformers_walk import LayerWalk
from recbole_microlens.errors import MicroLensError, explained


@dataclass(frozen=True)
class TransformersSpec(EncoderSpec):
    """A row whose network ``transformers.AutoModel`` builds; see :class:`EncoderSpec`.

    Attributes
    ----------
    source : hub id or folder of the published weights; empty if there are none.
    config : ``() -> PretrainedConfig``, the architecture as published.
    layers : name of the network's list of layers; empty if the network cannot be cut.
    layer_outputs : how many values a layer returns as a tuple; 0 if it returns the states alone.
    ignored : prefixes of keys of the published checkpoint that the network has no use for; if empty, keys of
        parts that the network does not have.
    tokenizer : hub id or folder of the tokenizer, or ``bytes``: text only.
    family : what is particular about the architecture.
    unused : parameters that the features do not depend on; they are frozen.
    """

    source: str = ""
    config: Callable | None = None
    layers: str = ""
    layer_outputs: int = 0
    ignored: tuple[str, ...] = ()
    tokenizer: str = ""
    family: Family = PLAIN
    unused: tuple[str, ...] = ()
    walk: Callable = LayerWalk
    load: Callable = load_transformer


def config_of(model_type: str, **settings):
    """The config of an architecture with these settings."""
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **settings)


def model_class(config) -> type[nn.Module]:
    """The class that ``AutoModel`` builds for a config; of an encoder-decoder its encoder alone.

    Raises
    ------
    MicroLensError
        If there is none.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING, MODEL_MAPPING

    mapping = MODEL_FOR_TEXT_ENCODING_MAPPING if config.is_encoder_decoder else MODEL_MAPPING
    if type(config) not in mapping:
        kind = " that runs its encoder alone" if config.is_encoder_decoder else ""
        raise MicroLensError(
            f"encoder: transformers has no model{kind} for the architecture '{config.model_type}'. Choose an "
            "encoder of text, images or videos."
        )
    found = mapping[type(config)]
    return found[0] if isinstance(found, list | tuple) else found


def model_options(cls: type[nn.Module]) -> dict:
    """Arguments of the class that leave out the pooler, which nothing here uses."""
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}


def build_network(spec_config: Callable, unused: tuple[str, ...], frames: int, size: int) -> nn.Module:
    """Build a network with random weights for clips or pictures of this shape.

    Parameters
    ----------
    spec_config, unused : see :class:`TransformersSpec`.
    frames, size : frames of a clip, and height and width in pixels; they do not matter for text.

    Raises
    ------
    MicroLensError
        A shape that the network cannot take.
    """
    config = fit(spec_config(), frames, size)
    cls = model_class(config)
    with explained(
        f"encoder: transformers cannot build {cls.__name__}",
        "Check the encoder's config.json and `frame_size`.",
    ):
        network = cls(config, **model_options(cls))
    for name, parameter in network.named_parameters():
        if name in unused:
            parameter.requires_grad_(False)
    return network


def fit(config, frames: int, size: int):
    """The config for clips of ``frames`` pictures of ``size`` pixels, with what the architecture needs."""
    family = family_of(config)
    for key, value in family.settings.items():
        if hasattr(config, key):
            setattr(config, key, value)
    if hasattr(config, "use_cache"):
        config.use_cache = False
    if hasattr(config, "image_size"):
        config.image_size = _like(config.image_size, _fitting_size(config, family, size))
    if hasattr(config, "num_frames"):
        tubelet = _patch(config)[0]
        if frames < tubelet:
            raise MicroLensError(
                f"num_frames: {config.model_type} takes {tubelet} frames at once, {frames} are too few. Set "
                f"num_frames >= {tubelet}."
            )
        config.num_frames = frames
    return config


def family_of(config) -> Family:
    """What is particular about a config's architecture."""
    return FAMILIES.get(config.model_type, PLAIN)


def grid_of(config) -> Grid:
    """Patches of a clip or picture: over time, height and width."""
    tubelet, patch = _patch(config)
    size = config.image_size if isinstance(config.image_size, int) else config.image_size[0]
    return max(getattr(config, "num_frames", 1) // tubelet, 1), size // patch, size // patch


def frames_first(clips: Tensor) -> Tensor:
    """Clips [N, 3, T, S, S] -> [N, T, 3, S, S], as ``transformers`` takes them."""
    return clips.transpose(1, 2)


@dataclass(frozen=True)
class EnlargeToPatches:
    """Pictures [N, 3, S, S] -> the next multiple of ``patch`` pixels, so that no border is lost."""

    patch: int

    def __call__(self, pictures: Tensor) -> Tensor:
        size = _next_multiple(pictures.shape[-1], self.patch)
        if size == pictures.shape[-1]:
            return pictures
        return interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)


def pathways_of(config, modality: str) -> Callable | None:
    """What ``prepare`` does to the pixels of this architecture."""
    if modality == "video":
        return frames_first
    return EnlargeToPatches(_patch(config)[1]) if family_of(config).resizes else None


def _fitting_size(config, family: Family, size: int) -> int:
    patch = _patch(config)[1]
    fitting = _next_multiple(size, patch)
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


def _patch(config) -> tuple[int, int]:
    """Frames and pixels of a patch."""
    tubelet = getattr(config, "tubelet_size", 1)
    if isinstance(tubelet, list | tuple):
        return tubelet[0], tubelet[1]
    patch = getattr(config, "patch_size", 1)
    return tubelet, patch if isinstance(patch, int) else patch[-1]


def _next_multiple(size: int, patch: int) -> int:
    return -(-size // patch) * patch


def _like(old: object, size: int) -> object:
    return [size, size] if isinstance(old, list | tuple) else size
