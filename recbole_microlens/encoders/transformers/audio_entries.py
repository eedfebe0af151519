"""The entries of the table of encoders that take sound and that Hugging Face ``transformers`` builds."""

from collections.abc import Callable
from functools import partial
from typing import Any

from recbole_microlens.encoders.sound.front_end import FrontEnd
from recbole_microlens.encoders.sound.front_ends import AstFbank, ClapMel, Waveform, WhisperMel
from recbole_microlens.encoders.transformers.audio_families import AUDIO_FAMILIES
from recbole_microlens.encoders.transformers.config import config_of
from recbole_microlens.encoders.transformers.sound_stages import sound_pools
from recbole_microlens.encoders.transformers.spec import TransformersSpec, build_network
from recbole_microlens.encoders.weights import PublishedWeights


def _sound(
    name: str,
    source: str,
    model_type: str,
    front_end: Callable[[], FrontEnd],
    *,
    blocks: int,
    features: int,
    licence: str,
    trained_on: str,
    sample_rate: int = 16_000,
    ignored: tuple[str, ...] = (),
    **settings: Any,
) -> TransformersSpec:
    """The spec of a network of sound.

    Parameters
    ----------
    source : str
        Hub id of the weights.
    front_end : callable
        What stands before it, with the settings that the weights were trained with.
    blocks, features : int
        How many blocks it has, and the length of its states.
    settings
        Of the published config where they are not the library's defaults.
    """
    family = AUDIO_FAMILIES[model_type]
    *lower, top = [(f"{family.blocks}.{number}",) for number in range(blocks)]
    config = partial(config_of, model_type, **settings)
    return TransformersSpec(
        name=name,
        paper_name="",
        modality="audio",
        build=partial(build_network, config),
        stages=((*family.before, *family.beside), *lower, top + family.after),
        feature_dim=features,
        mean=(),
        std=(),
        published=PublishedWeights(f"https://huggingface.co/{source}", licence, trained_on),
        pools=sound_pools(family.class_tokens if isinstance(family.class_tokens, int) else 0),
        source=source,
        config=config,
        family=family,
        ignored=ignored,
        sample_rate=sample_rate,
        front_end=front_end,
    )


_base = partial(_sound, blocks=12, features=768)

AUDIO_TRANSFORMERS = (
    _base(
        "ast",
        "MIT/ast-finetuned-audioset-10-10-0.4593",
        "audio-spectrogram-transformer",
        AstFbank,
        licence="BSD-3-Clause",
        trained_on="AudioSet",
    ),
    _base(
        "wav2vec2_base",
        "facebook/wav2vec2-base",
        "wav2vec2",
        Waveform,
        licence="Apache-2.0",
        trained_on="LibriSpeech, without labels",
    ),
    _base(
        "hubert_base",
        "facebook/hubert-base-ls960",
        "hubert",
        Waveform,
        licence="Apache-2.0",
        trained_on="LibriSpeech, without labels",
    ),
    _base(
        "wavlm_base",
        "microsoft/wavlm-base",
        "wavlm",
        partial(Waveform, do_normalize=False),
        licence="see its model card",
        trained_on="LibriSpeech, without labels",
    ),
    _sound(
        "whisper_tiny",
        "openai/whisper-tiny",
        "whisper",
        WhisperMel,
        blocks=4,
        features=384,
        licence="Apache-2.0",
        trained_on="680,000 hours of speech with its text",
    ),
    _sound(
        "clap_htsat",
        "laion/clap-htsat-unfused",
        "clap_audio_model",
        partial(ClapMel, truncation="rand_trunc", frequency_min=50),
        blocks=4,
        features=768,
        sample_rate=48_000,
        licence="Apache-2.0",
        trained_on="LAION-Audio-630K",
    ),
)
