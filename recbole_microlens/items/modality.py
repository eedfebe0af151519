"""What a model looks at, and the settings of each modality, read from the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from recbole_microlens.encoders.adapter_options import AdapterOptions
from recbole_microlens.encoders.adapters.table import ADAPTERS, check_adapters
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import encoder_spec
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.transformers.spec import TransformersSpec
from recbole_microlens.encoders.transformers.tokenizer import shared_tokens
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.title_template import TitleTemplate
from recbole_microlens.media.store_kinds import STORE_KINDS

ENCODED = ("text", "image", "video", "audio")
MODALITIES = ("id", *ENCODED)
IMAGE_SOURCES = {"cover": "image", "video": "video"}
"""Where an image encoder's pictures may come from: the modality whose media store holds them."""


@dataclass(frozen=True)
class ModalitySettings:
    """The settings of one modality that an encoder looks at.

    Attributes
    ----------
    name : {'text', 'image', 'video', 'audio'}
    encoder : EncoderSpec
    options : EncoderOptions
        How it is built and used.
    """

    name: str
    encoder: EncoderSpec
    options: EncoderOptions


@dataclass(frozen=True)
class ProjectionSettings:
    """The settings of the projection from a modality's features to the item embedding.

    Attributes
    ----------
    layers, dropout : int, float
        Hidden layers, and the dropout after each.
    activation : str
        ``gelu`` or ``linear``, of the last layer.
    group : str
        ``encoder`` or ``others``, whose learning rate and weight decay the projection has.
    """

    layers: int
    dropout: float
    activation: str
    group: str


def modalities(config) -> tuple[str, ...]:
    """The modalities of a content model in the order of :data:`MODALITIES`; empty for a stock model."""
    made_of = as_list(config["item_modality"])
    return tuple(name for name in MODALITIES if name in made_of)


def as_list(item_modality: str | Iterable[str] | None) -> list[str]:
    """What items are made of, which a user may write as one word or several, as a list."""
    return [item_modality] if isinstance(item_modality, str) else list(item_modality or ())


def modality_settings(config, name: str) -> ModalitySettings:
    """Settings of a modality: its own where a key is a dict by modality, else those of all.

    Raises
    ------
    MicroLensError
        The encoder is unknown, looks at something else, or cannot be adapted as the settings say; or a dict
        has no entry for this modality.
    """
    spec = encoder_spec(_encoder_name(config, name), name)
    if spec.modality != name:
        raise MicroLensError(
            f"encoder: {spec.name} looks at {spec.modality}, {config['model']} wants one for {name}. Run "
            f"`recbole-microlens encoders` for the list, or choose a model with another suffix."
        )
    own = partial(of_modality, config, name=name)
    options = EncoderOptions(
        frames=config["num_frames"],
        size=config["frame_size"],
        weights=own("encoder_weights"),
        trainable_stages=spec.trainable_stages(own("finetune"), own("finetune_stages")),
        output=own("encoder_output"),
        pooling=own("encoder_pooling"),
        freeze_bn_statistics=own("freeze_bn_statistics"),
        gradient_checkpointing=own("gradient_checkpointing"),
        normalisation=own("normalisation"),
        finetune_embeddings=own("finetune_embeddings"),
        frame_pooling=own("frame_pooling") if spec.frame_pools else None,
        adapters=_adapters(config, name),
        shared_tokens=_shared_tokens(config, spec) if name == "text" else 0,
    )
    check_adapters(spec, options)
    return ModalitySettings(name, spec, options)


def _shared_tokens(config, spec: EncoderSpec) -> int:
    """How many tokens the template of a run puts before every title that a decoder reads."""
    template = TitleTemplate.of(config["title_template"])
    takes_any = isinstance(spec, TransformersSpec) and bool(spec.family.keys_and_values)
    if not (takes_any and template.parts[0][0]):
        return 0
    return shared_tokens(spec, template.examples(), config["max_title_tokens"])


def projection_settings(config, name: str) -> ProjectionSettings:
    """Settings of a modality's projection. Where none is asked for, its activation is the released one: GELU
    on what a video encoder gives, linear on all else, features from a file too.
    """
    is_encoded_video = name == "video" and features_path(config, name) is None
    return ProjectionSettings(
        config["projection_layers"],
        config["projection_dropout"],
        of_modality(config, "projection_activation", name) or ("gelu" if is_encoded_video else "linear"),
        of_modality(config, "projection_group", name),
    )


def read_from_a_store(name: str) -> bool:
    """Whether a modality is read from a media store."""
    return name in STORE_KINDS


def store_path(config, name: str) -> Path:
    """The media store that a modality for which :func:`read_from_a_store` holds is read from."""
    source = IMAGE_SOURCES[config["image_source"]] if name == "image" else name
    return Path(config["data_path"]) / STORE_KINDS[source].file


def features_path(config, name: str) -> str | None:
    """The file of frozen features that stands for a modality's encoder, or ``None``.

    Raises
    ------
    MicroLensError
        ``features`` is one path, and the model looks at several modalities besides ids.
    """
    features = config["features"]
    if features is None or name not in ENCODED:
        return None
    if isinstance(features, dict):
        return features.get(name)
    looked_at = [modality for modality in modalities(config) if modality in ENCODED]
    if len(looked_at) > 1:
        raise MicroLensError(
            f"features: {features} is one file, {config['model']} looks at {', '.join(looked_at)}. Name the "
            f"modality: features={{'{looked_at[0]}': '{features}'}}."
        )
    return str(features)


def of_modality(config, key: str, name: str):
    """A setting of one modality: ``{'video': ..., 'text': ...}``, or one value for all.

    Raises
    ------
    MicroLensError
        The setting is a dict without an entry for this modality.
    """
    value = config[key]
    if not isinstance(value, dict):
        return value
    if name not in value:
        raise MicroLensError(f"{key}: {value} has no entry for {name}. Add one, or give one value for all.")
    return value[name]


def _adapters(config, name: str) -> AdapterOptions | None:
    mode = of_modality(config, "finetune", name)
    if mode not in ADAPTERS:
        return None
    own = partial(of_modality, config, name=name)
    layers = own("side_layers")
    return AdapterOptions(
        mode=mode,
        rank=own("lora_rank"),
        alpha=own("lora_alpha"),
        dropout=own("lora_dropout"),
        size=own("side_size" if mode == "side" else "adapter_size"),
        layers=None if layers is None else tuple(layers),
    )


def _encoder_name(config, name: str) -> str:
    encoded = [m for m in modalities(config) if m in ENCODED and features_path(config, m) is None]
    if config["encoder"] is None:
        return config[f"{name}_encoder"]
    if len(encoded) > 1:
        raise MicroLensError(
            f"encoder: {config['encoder']} is given, {config['model']} has encoders for "
            f"{', '.join(encoded)}. Set {', '.join(f'`{each}_encoder`' for each in encoded)} instead."
        )
    return config["encoder"]
