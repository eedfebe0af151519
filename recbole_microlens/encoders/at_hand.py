"""Makes sure that an encoder's weights and tokenizer are on this machine, before anything else is done."""

from __future__ import annotations

from pathlib import Path

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.transformers_load import config_at, donor_of, published_source
from recbole_microlens.encoders.transformers_spec import TransformersSpec
from recbole_microlens.encoders.weights import PublishedWeights, fetch, require_file

_HUB_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def require_at_hand(spec: EncoderSpec, source: str | None, frames: int, size: int) -> None:
    """Look for what an encoder is loaded from, and download what is not here.

    Parameters
    ----------
    spec : the encoder's row.
    source : as ``encoder_weights`` has it: ``pretrained``, ``none``, a path, or a hub id.
    frames, size : of the clips that it will see.

    Raises
    ------
    MicroLensError
        It is neither here nor can it be downloaded; the message says how a first run goes without.
    """
    if isinstance(spec, TransformersSpec):
        _require_tokenizer(spec)
    if source is None or str(source).lower() == "none":
        return
    if isinstance(spec, TransformersSpec):
        _require_transformer(spec, str(source), frames, size)
    elif source not in ("pretrained", "kinetics"):
        require_file(Path(source))
    elif isinstance(spec.published, PublishedWeights):
        fetch(spec.published)


def _require_tokenizer(spec: TransformersSpec) -> None:
    if spec.modality == "text":
        from recbole_microlens.encoders.text import tokenizer_fingerprint

        tokenizer_fingerprint(spec)


def _require_transformer(spec: TransformersSpec, source: str, frames: int, size: int) -> None:
    source = published_source(spec) if source == "pretrained" else source
    # A folder may hold anything: only loading it tells. That is done once, when the model is built.
    if not Path(source).exists() and not _is_cached(source):
        config_at(source, "encoder_weights")  # before a network is built for nothing
        donor_of(spec.build(frames, size), source)


def _is_cached(source: str) -> bool:
    """Whether the hub's cache has a config and weights of a hub id."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config, *weights = (try_to_load_from_cache(source, name) for name in ("config.json", *_HUB_FILES))
    except HFValidationError:  # no hub id: loading it says so
        return False
    return isinstance(config, str) and any(isinstance(path, str) for path in weights)
