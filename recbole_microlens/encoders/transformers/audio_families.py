"""How networks of sound of ``transformers`` are run in parts: a table, by ``model_type`` of their config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from typing import Any

from torch import Tensor

from recbole_microlens.encoders.sound.front_end import FrontEnd
from recbole_microlens.encoders.sound.front_ends import FRONT_ENDS
from recbole_microlens.encoders.transformers import audio_calls, calls
from recbole_microlens.encoders.transformers.families import Family
from recbole_microlens.errors import MicroLensError, explained


@dataclass(frozen=True, kw_only=True)
class AudioFamily(Family):
    """An architecture that takes sound; see :class:`Family`.

    Its :attr:`embed` takes how many steps of the input are sound in the place of the mask.

    Attributes
    ----------
    front_end : str
        The feature extractor of ``transformers`` that stands before it, a key of
        :data:`~recbole_microlens.encoders.sound.front_ends.FRONT_ENDS`.
    front_end_settings : callable
        ``config -> dict``, what of the extractor's settings follows from the network.
    steps : callable
        ``(network, steps of the input that are sound [B]) -> states that are [B]``.
    mask_name : str
        Argument of the network's own ``forward`` that says which steps of the input are sound.
    constant : tuple of str
        Modules that the states depend on and that never train: they are in no stage.
    stable : mapping
        What is different where the config has ``do_stable_layer_norm``.
    """

    front_end: str
    front_end_settings: Callable[[Any], Mapping[str, object]]
    steps: Callable[[calls.Network, Tensor], Tensor] = audio_calls.same_steps
    mask_name: str = "attention_mask"
    constant: tuple[str, ...] = ()
    stable: Mapping[str, Any] = field(default_factory=dict)
    modality: str = "audio"


# Blocks that are left out and states that are masked at random in training: not here.
_STEADY = {"layerdrop": 0.0, "apply_spec_augment": False, "add_adapter": False}
_WAVES = AudioFamily(
    blocks="encoder.layers", before=("feature_extractor", "feature_projection"),
    beside=("encoder.pos_conv_embed", "encoder.layer_norm", "encoder.dropout"),
    embed=audio_calls.convolved_waves, context=audio_calls.maybe_masked,
    settings=_STEADY, ignored=("adapter.", "masked_spec_embed"),
    front_end="Wav2Vec2FeatureExtractor", front_end_settings=audio_calls.of_waves,
    steps=audio_calls.steps_of_convolutions,
    stable={"beside": ("encoder.pos_conv_embed", "encoder.dropout"), "after": ("encoder.layer_norm",)},
)  # fmt: skip

AUDIO_FAMILIES: dict[str, AudioFamily] = {
    "audio-spectrogram-transformer": AudioFamily(
        blocks="layers", after=("layernorm",), class_tokens=2, embed=audio_calls.spectrogram_patches,
        front_end="ASTFeatureExtractor", front_end_settings=audio_calls.of_patches,
        steps=audio_calls.all_states,
    ),
    "wav2vec2": _WAVES,
    "hubert": _WAVES,
    "data2vec-audio": _WAVES,
    "unispeech": _WAVES,
    "unispeech-sat": _WAVES,
    "wavlm": replace(_WAVES, context=audio_calls.gated_position_bias),
    "wav2vec2-bert": AudioFamily(
        blocks="encoder.layers", before=("feature_projection",),
        beside=("encoder.embed_positions", "encoder.dropout"),
        embed=audio_calls.projected_spectra, context=audio_calls.conformer,
        settings={**_STEADY, "use_intermediate_ffn_before_adapter": False},
        ignored=("adapter.", "intermediate_ffn.", "masked_spec_embed"),
        front_end="SeamlessM4TFeatureExtractor", front_end_settings=audio_calls.of_stacked,
    ),
    "whisper": AudioFamily(
        blocks="layers", before=("conv1", "conv2"), after=("layer_norm",), constant=("embed_positions",),
        embed=audio_calls.convolved_spectra, context=calls.no_mask, settings={"encoder_layerdrop": 0.0},
        front_end="WhisperFeatureExtractor", front_end_settings=audio_calls.of_whisper,
        steps=audio_calls.halved_steps, network="WhisperEncoder",
    ),
    "clap_audio_model": AudioFamily(
        blocks="audio_encoder.layers", before=("audio_encoder.batch_norm", "audio_encoder.patch_embed"),
        after=("audio_encoder.norm",), embed=audio_calls.spectra_as_pictures,
        context=audio_calls.grid_of_each_stage, finish=audio_calls.mean_of_places,
        settings={"enable_fusion": False},
        ignored=("audio_encoder.patch_embed.fusion_model.", "audio_encoder.patch_embed.mel_conv2d."),
        own_states=calls.pooler_output, front_end="ClapFeatureExtractor",
        front_end_settings=audio_calls.of_clap, steps=audio_calls.all_states, network="ClapAudioModel",
    ),
    "pe_audio_encoder": AudioFamily(
        blocks="layers", before=("embedder.data_proj", "patch_embedder"), beside=("rotary_emb",),
        after=("norm", "output"), constant=("embedder.dac_encoder", "embedder.bottleneck"), class_tokens=1,
        embed=audio_calls.codec_states, context=audio_calls.rotary_and_mask,
        own_states=audio_calls.class_token_first, front_end="PeAudioFeatureExtractor",
        front_end_settings=audio_calls.of_codec, steps=audio_calls.codec_steps, mask_name="padding_mask",
    ),
}  # fmt: skip


def audio_family(config) -> AudioFamily | None:
    """What the table says of an architecture that takes sound; None of any other."""
    family = AUDIO_FAMILIES.get(config.model_type)
    if family and getattr(config, "do_stable_layer_norm", False):
        return replace(family, **family.stable)
    return family


def sound_tower(config):
    """Of a model of sound and texts the config of its sound tower; of any other its own."""
    tower = getattr(config, "audio_config", None)
    return tower if getattr(tower, "model_type", None) in AUDIO_FAMILIES else config


def front_end_of(family: AudioFamily, config, given: Mapping[str, Any], source: str) -> partial[FrontEnd]:
    """What makes the front end of a network.

    Parameters
    ----------
    family : AudioFamily
    config : PretrainedConfig
        Of the network, which says what ``given`` leaves out.
    given : mapping
        Settings of its feature extractor, as in a ``preprocessor_config.json``; may be empty.
    source : str
        Where they are from, for messages.

    Raises
    ------
    MicroLensError
        The extractor is none of :data:`FRONT_ENDS`, or cannot be made with these settings.
    """
    name = given.get("feature_extractor_type", family.front_end)
    if name not in FRONT_ENDS:
        raise MicroLensError(
            f"encoder: the feature extractor of {source} is '{name}'. Known are: {', '.join(FRONT_ENDS)}. "
            "Choose another encoder."
        )
    if given.get("dither"):
        raise MicroLensError(
            f"encoder: the feature extractor of {source} adds noise (dither). Set it to 0 in its "
            "preprocessor_config.json, or choose another encoder."
        )
    cls = FRONT_ENDS[name]
    known = signature(cls).parameters
    settings = {**family.front_end_settings(config), **given}
    make = partial(cls, **{key: value for key, value in settings.items() if key in known})
    with explained(
        f"encoder: the feature extractor of {source} cannot be made of its settings",
        "Check its preprocessor_config.json.",
    ):
        make()
    return make
