"""What a model looks at, and the settings of each modality, read from the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_microlens.encoders.registry import encoder_spec
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.errors import MicroLensError

ENCODED = ("text", "image", "video")
MODALITIES = ("id", *ENCODED)
IMAGE_SOURCES = ("cover", "video")


@dataclass(frozen=True)
class ModalitySettings:
    """The settings of one modality that an encoder looks at.

    Attributes
    ----------
    name : str
        ``text``, ``image`` or ``video``.
    encoder : EncoderSpec
        The encoder's row in the registry.
    weights : str
        ``pretrained``, a path, a hub id, or ``none``.
    finetune, finetune_stages : str, int | str
        See :mod:`recbole_microlens.encoders.finetune`.
    pooling : str | None
        ``cls``, ``mean``, or None for the encoder's own.
    frame_pooling : str | None
        How an image encoder's features of frames become those of a video; None for its own.
    output, freeze_bn_statistics, gradient_checkpointing, normalisation, finetune_embeddings
        See :func:`recbole_microlens.encoders.registry.create_encoder`.
    """

    name: str
    encoder: EncoderSpec
    weights: str
    finetune: str
    finetune_stages: int | str
    output: str
    pooling: str | None
    freeze_bn_statistics: bool
    gradient_checkpointing: bool
    normalisation: str
    finetune_embeddings: bool
    frame_pooling: str | None = None


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
    named = config["item_modality"] or ()
    named = (named,) if isinstance(named, str) else named
    return tuple(name for name in MODALITIES if name in named)


def modality_settings(config, name: str) -> ModalitySettings:
    """Settings of a modality: its own where a key is a dict by modality, else those of all.

    Raises
    ------
    MicroLensError
        The encoder is unknown or looks at something else, or a dict has no entry for this modality.
    """
    spec = encoder_spec(_encoder_name(config, name), name)
    if spec.modality != name:
        raise MicroLensError(
            f"encoder: {spec.name} looks at {spec.modality}, {config['model']} wants one for {name}. Run "
            f"`recbole-microlens encoders` for the list, or choose a model with another suffix."
        )
    return ModalitySettings(
        name,
        spec,
        weights=of_modality(config, "encoder_weights", name),
        finetune=of_modality(config, "finetune", name),
        finetune_stages=of_modality(config, "finetune_stages", name),
        output=of_modality(config, "encoder_output", name),
        pooling=of_modality(config, "encoder_pooling", name),
        freeze_bn_statistics=of_modality(config, "freeze_bn_statistics", name),
        gradient_checkpointing=of_modality(config, "gradient_checkpointing", name),
        normalisation=of_modality(config, "normalisation", name),
        finetune_embeddings=of_modality(config, "finetune_embeddings", name),
        frame_pooling=of_modality(config, "frame_pooling", name) if spec.frame_pools else None,
    )


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
