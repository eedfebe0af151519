"""The spec of any encoder that ``transformers.AutoModel`` loads, made from the config in its folder."""

from __future__ import annotations

import inspect
import json
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache, partial
from logging import getLogger
from typing import Any, cast

import torch
from torch import Tensor

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.pooling import token_pools
from recbole_microlens.encoders.transformers.audio_families import AUDIO_FAMILIES, AudioFamily, front_end_of
from recbole_microlens.encoders.transformers.calls import Network, own_forward
from recbole_microlens.encoders.transformers.config import (
    config_at,
    family_of,
    model_class,
    optional_file,
    patch_of,
)
from recbole_microlens.encoders.transformers.entries import IMAGENET
from recbole_microlens.encoders.transformers.sentences import text_pools
from recbole_microlens.encoders.transformers.sound_stages import noise, own_states, sound_pools
from recbole_microlens.encoders.transformers.spec import TransformersSpec, build_network, pathways_of
from recbole_microlens.encoders.weights import PublishedWeights
from recbole_microlens.errors import MicroLensError, explained, first_line

_PROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
_TOLERANCE = 1e-4
# What the architectures of `transformers` call their main input.
_PIXELS = ("pixel_values", "pixel_values_videos")
_SOUND = ("input_values", "input_features", "audio_values")
_ACCEPTED = (
    f"Choose an encoder whose main input is input_ids (text) or {' or '.join(_PIXELS)} (images, videos), or "
    "one of sound that `docs/encoders.md` names."
)


@lru_cache(maxsize=8)
def folder_spec(source: str, modality: str | None = None) -> TransformersSpec:
    """The spec of a model in a folder or on the hub; reads its config, not its weights.

    Parameters
    ----------
    source : str
        A folder as ``from_pretrained`` takes it, or a hub id such as ``org/name``. Its code never runs.
    modality : {'video', 'image', 'text'}, optional
        Which tower of a model of texts and pictures; its picture tower by default.

    Raises
    ------
    MicroLensError
        There is no such model; ``transformers`` does not know the architecture; it encodes neither text nor
        images nor videos nor sound.
    """
    config = config_at(source, modality=modality)
    modality, family = _modality(source, config), family_of(config)
    get_config = partial(deepcopy, config)
    draft = TransformersSpec(
        name=source,
        paper_name="",
        modality=modality,
        build=partial(build_network, get_config),
        stages=(("",),),
        feature_dim=0,
        mean=(),
        std=(),
        published=PublishedWeights(source, "see its model card", "see its model card"),
        source=source,
        config=get_config,
        tokenizer=source if modality == "text" else "",
        family=family,
        pathways=pathways_of(config, modality),
        picture_frames=patch_of(config)[0] if family.takes_pictures else 0,
        check=check_folder,
    )
    if isinstance(family, AudioFamily):
        draft = _hearing(draft, family, config)
    network, states = _run_on_meta(draft)
    if not family.blocks:
        getLogger().warning(
            "encoder: %s ('%s') is run whole, it cannot be cut: set `finetune` to full or frozen.",
            source, config.model_type,
        )  # fmt: skip
    mean, std = _statistics(source) if modality in ("image", "video") else ((), ())
    return replace(
        draft,
        stages=family.stages(network),
        feature_dim=states.shape[1] if states.dim() == 4 else states.shape[-1],
        mean=mean,
        std=std,
        pools=_pools(source, config, draft),
    )


def _hearing(draft: TransformersSpec, family: AudioFamily, config) -> TransformersSpec:
    """The spec of a network of sound with what stands before it."""
    settings = _processor_settings(draft.name)
    front_end = front_end_of(family, config, settings.get("feature_extractor", settings), draft.name)
    return replace(draft, front_end=front_end, sample_rate=front_end().sample_rate)


def check_folder(encoder: Encoder) -> None:
    """Compare an encoder with the library's own forward on noise; ``EncoderSpec.check`` of these specs.

    Raises
    ------
    MicroLensError
        Part of the network is to train that can only be run whole. Two runs of the frozen part differ:
        something in it is random. The parts differ from the library's own forward: a setting of this config,
        or this version of the library, does what the table of families does not say.
    """
    spec, network = cast(TransformersSpec, encoder.spec), cast(Network, encoder.network)
    spec.require_cut(encoder.options.trainable_stages)
    name, cut = (
        f"'{spec.name}' ({type(network).__name__})",
        encoder.n_stages - encoder.trainable_stages,
    )
    content = _noise(spec, network, next(network.parameters()).device, items=2)
    run, training = spec.staged_forward(network), encoder.training
    try:
        with torch.no_grad():
            encoder.train()
            again = run(content, 0, cut)
            encoder.eval()
            lower = run(content, 0, cut)
            parts = run(lower, cut, encoder.n_stages)
            own = _own_states(spec, network, content)
    finally:
        encoder.train(training)
    if isinstance(parts, list):
        parts = parts[0]
    if not _equal(lower, again):
        raise MicroLensError(
            f"encoder: {name} returns different values for the same input, even in eval mode (random "
            "masking or dropout). Choose another encoder."
        )
    if not _equal(parts, own):
        raise MicroLensError(
            f"encoder: {name} run in parts differs from its own forward in this version of transformers: the "
            f"table of families does not know all that '{network.config.model_type}' does with this "
            "config.json. Choose another encoder."
        )


def _own_states(spec: TransformersSpec, network: Network, content: Any) -> Tensor:
    if isinstance(spec.family, AudioFamily):
        return own_states(network, spec.family, content, spec.attends_by_mask)
    if spec.modality == "text":
        return own_forward(network, (), content[:, 0].long(), content[:, 1].long())
    name = spec.family.own_input or network.main_input_name
    inputs = {name: content} | spec.family.own_inputs(network, content)
    return spec.family.own_states(network, network(**inputs))


def _run_on_meta(draft: TransformersSpec) -> tuple[Network, Tensor]:
    """The network and its states of one item, without memory; where its code needs memory, with random
    weights.
    """
    size, frames = _published_shape(draft.config())
    for device in ("meta", "cpu"):
        try:
            with torch.device(device):
                network = draft.build(frames, size).eval()
            # Outside: the library keeps tables that it makes while it runs, such as BEiT's of positions.
            spec = replace(draft, stages=draft.family.stages(network))
            with torch.no_grad():
                content = _noise(draft, network, device, items=1)
                states = spec.staged_forward(network)(content, 0, len(spec.stages))
            return network, states[0] if isinstance(states, list) else states
        except MicroLensError:
            raise
        except Exception as error:
            if device == "cpu":
                raise MicroLensError(
                    f"encoder: '{draft.name}' ({model_class(draft.config()).__name__}) cannot be run as "
                    f"an encoder of {draft.modality} ({first_line(error)}). Choose another encoder."
                ) from error
            getLogger().debug("%s does not run on the meta device: %s", draft.name, first_line(error))
    raise AssertionError("unreachable")


def _modality(source: str, config) -> str:
    cls: Any = model_class(config)
    if family_of(config).modality:
        return family_of(config).modality
    if hasattr(config, "audio_config") or cls.main_input_name in _SOUND:
        raise MicroLensError(
            f"encoder: {source} ({cls.__name__}) takes sound, and its architecture '{config.model_type}' is "
            f"not in the table of families of sound. Choose one of: {', '.join(AUDIO_FAMILIES)}."
        )
    taken = inspect.signature(cls.forward).parameters
    if cls.main_input_name == "input_ids" and "input_ids" in taken:
        return "text"
    if cls.main_input_name not in taken:
        raise MicroLensError(
            f"encoder: {source} ({cls.__name__}) takes '{list(taken)[1]}', of "
            f"which the table of families says nothing for '{config.model_type}'. {_ACCEPTED}"
        )
    if cls.main_input_name not in _PIXELS:
        raise MicroLensError(
            f"encoder: {source} ({cls.__name__}) takes '{cls.main_input_name}', which is neither text nor "
            f"pictures nor sound. {_ACCEPTED}"
        )
    return "video" if hasattr(config, "num_frames") else "image"


def _published_shape(config) -> tuple[int, int]:
    size = getattr(config, "image_size", 64)
    return size if isinstance(size, int) else size[0], getattr(config, "num_frames", 1)


def _noise(spec: TransformersSpec, network: Network, device: torch.device | str, items: int) -> Any:
    """Random input as the network takes it: tokens [N, 2, 8], pixels [N, 3, S, S] or [N, T, 3, S, S], or
    what the front end gives for sound.
    """
    if spec.front_end:
        return [tensor.to(device) for tensor in noise(spec.front_end(), items)]
    generator = torch.Generator().manual_seed(0)
    config = network.config
    if spec.modality == "text":
        ids = torch.randint(3, max(min(config.vocab_size, 1000), 4), (items, 1, 8), generator=generator)
        content = torch.cat([ids, torch.ones_like(ids)], dim=1)
        content[-1, :, 5:] = 0 if items > 1 else content[-1, :, 5:]
        return content.int().to(device)
    size = _published_shape(config)[0]
    frames = (config.num_frames,) if hasattr(config, "num_frames") else ()
    return torch.rand(items, *frames, 3, size, size, generator=generator).to(device)


def _pools(source: str, config, spec: TransformersSpec) -> dict:
    """The poolings, the one that the model was trained with first."""
    if spec.modality == "audio":
        return sound_pools(spec.family.n_class_tokens(config))
    if spec.modality != "text":
        n_class = spec.family.n_class_tokens(config)
        return token_pools(spec.family.pooling or ("cls" if n_class else "mean"), n_class)
    return text_pools(source, config, spec.family)


def _statistics(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the channels, from the model's processor."""
    settings = _processor_settings(source)
    settings = settings.get("image_processor", settings)
    if settings.get("do_normalize") is False:
        return (0.0,) * 3, (1.0,) * 3
    if "image_mean" not in settings or "image_std" not in settings:
        getLogger().warning("encoder: %s has no pixel mean and std in its config: using ImageNet's.", source)
        return IMAGENET
    return tuple(settings["image_mean"]), tuple(settings["image_std"])


def _processor_settings(source: str) -> dict:
    """What the model's processor is told; empty where there is none."""
    path = optional_file(source, _PROCESSORS)
    with explained(
        f"encoder: cannot read {path}", "Use the file that save_pretrained of transformers wrote."
    ):
        settings = json.loads(path.read_text(encoding="utf-8")) if path else {}
        if not isinstance(settings, dict):
            raise ValueError("no JSON object")
    return settings


def _equal(one, other) -> bool:
    if isinstance(one, list):
        return all(map(_equal, one, other))
    return one.shape == other.shape and torch.allclose(one, other, atol=_TOLERANCE, rtol=_TOLERANCE)
