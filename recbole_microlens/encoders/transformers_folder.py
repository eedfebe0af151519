"""A row for any encoder that ``transformers.AutoModel`` loads, made from its config."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache, partial
from logging import getLogger
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.tokens import pools_of
from recbole_microlens.encoders.transformers_anatomy import Anatomy, dissect
from recbole_microlens.encoders.transformers_load import config_at, fetched
from recbole_microlens.encoders.transformers_rows import IMAGENET
from recbole_microlens.encoders.transformers_spec import (
    TransformersSpec,
    build_network,
    family_of,
    model_class,
    pathways_of,
)
from recbole_microlens.encoders.walk import Features
from recbole_microlens.encoders.weights import PublishedWeights
from recbole_microlens.errors import MicroLensError, explained, first_line

_PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
_TOLERANCE = 1e-4
# What the architectures of `transformers` call their main input.
_PIXELS = ("pixel_values", "pixel_values_videos")
_SOUND = ("input_values", "input_features", "audio_values")
_ACCEPTED = (
    f"Choose an encoder whose main input is input_ids (text) or {' or '.join(_PIXELS)} (images, videos)."
)


@lru_cache(maxsize=8)
def folder_spec(source: str) -> TransformersSpec:
    """The row of a model in a folder or on the hub; reads its config, not its weights.

    Parameters
    ----------
    source : a folder as ``from_pretrained`` takes it, or a hub id such as ``org/name``. Its code never runs.

    Raises
    ------
    MicroLensError
        There is no such model; ``transformers`` does not know the architecture; it encodes neither text nor
        images nor videos.
    """
    config = config_at(source)
    modality = _modality(source, config)
    get_config = partial(deepcopy, config)
    draft = TransformersSpec(
        name=source,
        paper_name="",
        modality=modality,
        build=partial(build_network, get_config, ()),
        stages=(),
        head=(),
        feature_dim=0,
        mean=(),
        std=(),
        published=PublishedWeights(source, "see its model card", "see its model card"),
        source=source,
        config=get_config,
        tokenizer=source if modality == "text" else "",
        family=family_of(config),
        pathways=pathways_of(config, modality) if modality != "text" else None,
        check=check_cut,
    )
    parts = _anatomy(draft)
    if not parts.layers:
        getLogger().warning("encoder: %s has no list of layers of its own weights: it cannot be cut.", source)
    mean, std = _statistics(source) if modality != "text" else ((), ())
    has_class, pooling = _pooling(source, config, modality, parts)
    return replace(
        draft,
        build=partial(build_network, get_config, parts.unused),
        stages=parts.stages,
        layers=parts.layers,
        layer_outputs=parts.layer_outputs,
        unused=parts.unused,
        feature_dim=parts.feature_dim,
        mean=mean,
        std=std,
        pools=pools_of(pooling, has_class, parts.returns_tokens),
    )


def check_cut(encoder: Encoder) -> None:
    """Run the network whole and in its two parts on noise; ``EncoderSpec.check`` of these rows.

    Raises
    ------
    MicroLensError
        The two differ: the layers share something that the walk does not see. Or two runs of the frozen part
        differ: something in it is random.
    """
    name, n_top = f"'{encoder.spec.name}' ({type(encoder.network).__name__})", encoder.trainable_stages
    advice = "Set `finetune` to full or frozen."
    with explained(f"encoder: {name} cannot be cut below its top {n_top} stages", advice):
        whole, parts, lower, lower_again = _runs(encoder, encoder.n_stages - n_top)
    if not _equal(lower, lower_again) or (n_top == encoder.n_stages and not _equal(whole, parts)):
        raise MicroLensError(
            f"encoder: {name} gives another answer each time: it masks or drops something at random even "
            "where it does not train. Choose another encoder."
        )
    if not _equal(whole, parts):
        raise MicroLensError(
            f"encoder: {name} cannot be cut below its top {n_top} stages: its layers share something that "
            f"the upper part then lacks. {advice}"
        )


def _runs(encoder: Encoder, cut: int) -> tuple[Features, Features, Features, Features]:
    """The whole; the upper part on the lower one; the lower part in eval and in train mode."""
    training, device = encoder.training, next(encoder.network.parameters()).device
    content = _noise(encoder.spec, encoder.network, device, items=2)
    try:
        with torch.no_grad():
            encoder.train()
            lower_again = encoder.walk(content, 0, cut)
            encoder.eval()
            whole = encoder.walk(content, 0, encoder.n_stages)
            lower = encoder.walk(content, 0, cut)
            return whole, encoder.walk(lower, cut, encoder.n_stages), lower, lower_again
    finally:
        encoder.train(training)


def _anatomy(draft: TransformersSpec) -> Anatomy:
    """On the meta device; where the network's code cannot run there, with real random weights."""
    size, frames = _published_shape(draft.config())
    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                network = draft.build(frames, size).eval()
            return dissect(draft, network, _noise(draft, network, device, items=1))
        except MicroLensError:
            raise
        except Exception as error:
            if device == "cpu":
                raise MicroLensError(
                    f"encoder: '{draft.name}' ({type(network).__name__}) cannot be run as an encoder of "
                    f"{draft.modality} ({first_line(error)}). Choose another encoder."
                ) from error
            getLogger().debug("%s does not run on the meta device: %s", draft.name, first_line(error))
    raise AssertionError("unreachable")


def _modality(source: str, config) -> str:
    cls = model_class(config)
    if hasattr(config, "audio_config") or cls.main_input_name in _SOUND:
        raise MicroLensError(
            f"encoder: {source} ({cls.__name__}) listens to sound, and items here have titles, covers and "
            f"videos alone. {_ACCEPTED}"
        )
    if cls.main_input_name == "input_ids":
        return "text"
    if cls.main_input_name not in _PIXELS:
        raise MicroLensError(
            f"encoder: {source} ({cls.__name__}) takes '{cls.main_input_name}', which is neither text nor "
            f"pictures. {_ACCEPTED}"
        )
    return "video" if hasattr(config, "num_frames") else "image"


def _published_shape(config) -> tuple[int, int]:
    size = getattr(config, "image_size", 64)
    return size if isinstance(size, int) else size[0], getattr(config, "num_frames", 1)


def _noise(spec: TransformersSpec, network: nn.Module, device: object, items: int) -> Tensor:
    """Random input as the walk takes it."""
    generator = torch.Generator().manual_seed(0)
    config = network.config
    if spec.modality == "text":
        ids = torch.randint(3, max(min(config.vocab_size, 1000), 4), (items, 1, 8), generator=generator)
        content = torch.cat([ids, torch.ones_like(ids)], dim=1)
        content[-1, :, 5:] = 0 if items > 1 else content[-1, :, 5:]
        return content.int().to(device)
    size = _published_shape(config)[0]
    frames = (config.num_frames,) if spec.modality == "video" else ()
    return torch.rand(items, *frames, 3, size, size, generator=generator).to(device)


def _pooling(source: str, config, modality: str, parts: Anatomy) -> tuple[int, str]:
    """How many class tokens there are, and the pooling the model was trained with."""
    if modality != "text":
        return parts.n_class, "cls" if parts.n_class and parts.returns_tokens else "mean"
    sentences = Path(source) / "1_Pooling" / "config.json"
    if sentences.is_file() and json.loads(sentences.read_text()).get("pooling_mode_mean_tokens"):
        return int(_has_class_token(config)), "mean"
    return (1, "cls") if _has_class_token(config) else (0, "mean")


def _has_class_token(config) -> bool:
    """Networks trained to fill in words see the whole text at the first token; T5 and GPT do not have one."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    return type(config) in MODEL_FOR_MASKED_LM_MAPPING and not config.is_encoder_decoder


def _statistics(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the channels, from the model's processor."""
    path = _processor(source)
    settings = json.loads(path.read_text(encoding="utf-8")) if path else {}
    settings = settings.get("image_processor", settings)
    if settings.get("do_normalize") is False:
        return (0.0,) * 3, (1.0,) * 3
    if "image_mean" not in settings or "image_std" not in settings:
        getLogger().warning("encoder: %s says no mean and std of pixels: ImageNet's are taken.", source)
        return IMAGENET
    return tuple(settings["image_mean"]), tuple(settings["image_std"])


def _processor(source: str) -> Path | None:
    """The file that says how pictures are prepared for the model, if there is one."""
    if Path(source).is_dir():
        return next((Path(source) / name for name in _PROCESSORS if (Path(source) / name).is_file()), None)
    from transformers.utils import cached_file

    def load(local: bool) -> str | None:
        options = {"local_files_only": local, "_raise_exceptions_for_missing_entries": False}
        found = next(filter(None, (cached_file(source, name, **options) for name in _PROCESSORS)), None)
        if local and found is None:
            raise OSError(f"{source} has no processor in the cache")
        return found

    found = fetched("encoder", source, load)
    return Path(found) if found else None


def _equal(one, other) -> bool:
    if isinstance(one, list):
        return all(map(_equal, one, other))
    return one.shape == other.shape and torch.allclose(one, other, atol=_TOLERANCE, rtol=_TOLERANCE)
