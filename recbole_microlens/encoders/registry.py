"""The table of encoders, and how an entry becomes a network with its weights."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from recbole_microlens.encoders.adapters.table import adapted, check_adapters
from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.frame_by_frame import frames_of
from recbole_microlens.encoders.image import IMAGE_ENCODERS
from recbole_microlens.encoders.picture_as_clip import picture_as_clip
from recbole_microlens.encoders.sound.logmel_cnn import LOGMEL_CNN
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.timm import PREFIX, timm_spec
from recbole_microlens.encoders.transformers.audio_entries import AUDIO_TRANSFORMERS
from recbole_microlens.encoders.transformers.entries import TRANSFORMERS
from recbole_microlens.encoders.transformers.folder import folder_spec
from recbole_microlens.encoders.transformers.spec import TransformersSpec
from recbole_microlens.encoders.video import VIDEO_ENCODERS
from recbole_microlens.errors import MicroLensError, did_you_mean

_TABLES = (VIDEO_ENCODERS, IMAGE_ENCODERS, TRANSFORMERS, AUDIO_TRANSFORMERS, (LOGMEL_CNN,))
ENCODERS: dict[str, EncoderSpec] = {spec.name: spec for table in _TABLES for spec in table}
OUTPUTS = ("pooled", "head", "released")
NORMALISATIONS = ("weights", "released")
_HALF = (0.5, 0.5, 0.5)


def encoder_spec(name: str, modality: str | None = None) -> EncoderSpec:
    """The spec of an encoder; of a hub id (with a slash), a folder or a network of timm, one made for it.

    Parameters
    ----------
    name : str
        A key of :data:`ENCODERS`, a hub id, a folder, or ``timm:NAME``.
    modality : {'video', 'image', 'text', 'audio'}, optional
        What it is to look at; ``video`` for an image encoder is its form that looks at each frame, ``image``
        for a video encoder that was trained on pictures, too, its form that takes one. Of a model of texts
        and pictures it decides which tower is taken.

    Raises
    ------
    MicroLensError
        No encoder has this name; the message names the nearest one and lists all.
    """
    spec = _named(name, modality)
    if (spec.modality, modality) == ("video", "image") and spec.picture_frames:
        return picture_as_clip(spec)
    return frames_of(spec) if (spec.modality, modality) == ("image", "video") else spec


def _named(name: str, modality: str | None) -> EncoderSpec:
    if name in ENCODERS:
        return ENCODERS[name]
    if str(name).startswith(PREFIX):
        return timm_spec(str(name))
    if "/" in str(name) or Path(str(name)).is_dir():
        return folder_spec(str(name), modality)
    raise MicroLensError(
        f"encoder: there is no encoder '{name}'.{did_you_mean(str(name), ENCODERS)} "
        f"Set `encoder` to one of: {', '.join(ENCODERS)}; or to a folder, a hub id, or timm:NAME."
    )


def create_encoder(name: str, options: EncoderOptions, modality: str | None = None) -> Encoder:
    """Build an encoder and load its weights.

    Parameters
    ----------
    name, modality : str
        As :func:`encoder_spec` takes them.
    options : EncoderOptions

    Raises
    ------
    MicroLensError
        Unknown name, output or pooling; a clip that is too small for the network; weights that cannot be had
        or do not fit; adapters that it cannot have.
    """
    spec = encoder_spec(name, modality)
    _check(spec, options)
    _check_frame_pooling(spec, options)
    check_adapters(spec, options)
    spec = spec.pooled_by(options.pooling)
    if options.normalisation == "released" and spec.mean:
        spec = replace(spec, mean=_HALF, std=_HALF)
    if options.shared_tokens and isinstance(spec, TransformersSpec):
        spec = replace(spec, shared_tokens=options.shared_tokens)
    network = spec.build(options.frames, options.size)
    if not spec.takes_head(options.output):
        _remove(network, spec.head)
    elif options.output == "released" and spec.released_head and spec.released_head.adapt:
        spec.released_head.adapt(network)
    spec.load(network, options.weights)
    encoder = Encoder(spec, network, options)
    if spec.check:
        spec.check(encoder)
    return adapted(encoder)


def _check(spec: EncoderSpec, options: EncoderOptions) -> None:
    if options.frames < spec.least_frames or options.size < spec.least_size:
        raise MicroLensError(
            f"encoder {spec.name} needs num_frames >= {spec.least_frames} and frame_size >= "
            f"{spec.least_size}, got num_frames: {options.frames} and frame_size: {options.size}. Raise them "
            "or choose another `encoder`."
        )
    if options.output not in OUTPUTS:
        raise MicroLensError(
            f"encoder_output: '{options.output}' is unknown.{did_you_mean(str(options.output), OUTPUTS)} Set "
            f"one of: {', '.join(OUTPUTS)}."
        )
    if options.output == "head" and not spec.head:
        raise MicroLensError(
            f"encoder_output: {spec.name} is published without a classification head. Set it to pooled."
        )
    if options.pooling not in (None, *spec.pools):
        raise MicroLensError(
            f"encoder_pooling: {spec.name} cannot pool by '{options.pooling}'. Leave it empty, or set one "
            f"of: {', '.join(spec.pools)}."
        )
    if spec.takes_head(options.output) and options.pooling not in (None, next(iter(spec.pools))):
        raise MicroLensError(
            f"encoder_pooling: the head of {spec.name} was trained on '{next(iter(spec.pools))}', not on "
            f"'{options.pooling}'. Leave `encoder_pooling` empty, or set `encoder_output` to pooled."
        )
    _check_released_head(spec, options)


def _check_released_head(spec: EncoderSpec, options: EncoderOptions) -> None:
    frames = spec.released_head.frames if spec.released_head else None
    if options.output == "released" and frames not in (None, options.frames):
        raise MicroLensError(
            f"encoder_output: the released head of {spec.name} fits {frames} frames, not {options.frames}. "
            f"Set num_frames: {frames}, or `encoder_output` to head."
        )


def _check_frame_pooling(spec: EncoderSpec, options: EncoderOptions) -> None:
    if options.frame_pooling is None:
        return
    if not spec.frame_pools:
        raise MicroLensError(
            f"frame_pooling: {spec.name} does not look at the frames one by one. Leave it out, or choose an "
            "encoder of images for the video."
        )
    if options.frame_pooling not in spec.frame_pools:
        near = did_you_mean(str(options.frame_pooling), spec.frame_pools)
        raise MicroLensError(
            f"frame_pooling: '{options.frame_pooling}' is unknown.{near} Set one of: "
            f"{', '.join(spec.frame_pools)}."
        )
    if options.frame_pooling == "difference" and options.frames < 2:
        raise MicroLensError("frame_pooling: difference needs num_frames >= 2. Raise it, or set it to mean.")
    if options.output == "head" and options.frame_pooling != "mean":
        raise MicroLensError(
            f"frame_pooling: the head of {spec.name} was trained on the features of one picture. Set "
            "`frame_pooling` to mean, or `encoder_output` to pooled."
        )


def _remove(network: nn.Module, names: tuple[str, ...]) -> None:
    for name in names:
        parent, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(parent), attribute, None)
