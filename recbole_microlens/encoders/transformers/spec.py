"""The spec of a network of Hugging Face ``transformers``, and how the network is built from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.staged_forward import StagedForward
from recbole_microlens.encoders.transformers.audio_families import AudioFamily
from recbole_microlens.encoders.transformers.calls import Network
from recbole_microlens.encoders.transformers.config import (
    config_at,
    family_of,
    fit,
    model_class,
    model_options,
    next_multiple,
    patch_of,
)
from recbole_microlens.encoders.transformers.families import FAMILIES, UNKNOWN, Family
from recbole_microlens.encoders.transformers.load import donor_of, is_cached, load_transformer
from recbole_microlens.encoders.transformers.sound_stages import SoundStages
from recbole_microlens.encoders.transformers.staged_forward import TransformerStages
from recbole_microlens.encoders.transformers.tokenizer import tokenizer_fingerprint
from recbole_microlens.encoders.weights import is_none
from recbole_microlens.errors import MicroLensError, explained


@dataclass(frozen=True, kw_only=True)
class TransformersSpec(EncoderSpec):
    """An encoder whose network ``transformers.AutoModel`` builds; see :class:`EncoderSpec`.

    Attributes
    ----------
    config : callable
        ``() -> PretrainedConfig``, the architecture as published.
    source : str
        Hub id or folder of the published weights; empty if there are none.
    family : Family
        How the network is run in parts; ``UNKNOWN`` for one that is run whole.
    ignored : tuple of str
        Prefixes of keys of the published checkpoint that the network has no use for; if empty, keys of parts
        that the network does not have.
    tokenizer : str
        Hub id or folder of the tokenizer, or ``bytes``: text only.
    shared_tokens : int
        See :class:`~recbole_microlens.encoders.transformers.staged_forward.TransformerStages`.
    """

    config: Callable[[], Any]
    source: str = ""
    family: Family = UNKNOWN
    ignored: tuple[str, ...] = ()
    tokenizer: str = ""
    shared_tokens: int = 0

    @property
    def is_known(self) -> bool:
        """Whether the table of families says how the network is run in parts."""
        return self.family is not UNKNOWN

    def trainable_stages(self, mode: str, finetune_stages: int | str) -> int | str | None:
        if not self.is_known and mode == "full":
            return None
        stages = super().trainable_stages(mode, finetune_stages)
        self.require_cut(stages)
        return stages

    def require_cut(self, trainable_stages: int | str | None) -> None:
        """Raise a :class:`MicroLensError` if a part is to train of a network that can only be run whole."""
        if not self.is_known and trainable_stages not in (None, 0):
            raise MicroLensError(
                f"finetune: '{self.name}' cannot be cut, its architecture '{self.config().model_type}' is "
                "not in the table of families. Set `finetune` to full, frozen or side, or use a model of a "
                f"known family: {', '.join(FAMILIES)}."
            )

    @property
    def attends_by_mask(self) -> bool:
        """Whether the network is told which part of its input is sound."""
        front_end: Any = self.front_end and self.front_end()
        return bool(front_end and front_end.attends_by_mask)

    def staged_forward(self, network: nn.Module) -> StagedForward:
        if isinstance(self.family, AudioFamily):
            return SoundStages(self.name, network, self.family, self.stages, self.attends_by_mask)
        is_text = self.modality == "text"
        return TransformerStages(self.name, network, self.family, self.stages, is_text, self.shared_tokens)

    def load(self, network: nn.Module, source: str | None) -> None:
        """As :meth:`EncoderSpec.load`; ``source`` may also be a hub id, a folder as ``from_pretrained`` takes
        it, or a ``.safetensors`` file. Tables of positions of another length are interpolated.
        """
        if is_none(source):
            return
        ignored = (*self.family.ignored, *self.ignored)
        load_transformer(
            network,
            self.published_source() if source == "pretrained" else str(source),
            published=self.config(),
            ignored=ignored,
            ignores_other_parts=not self.ignored,
            unused=_unused(network, self.family),
        )

    def require_weights(self, source: str | None, frames: int, size: int) -> None:
        if self.modality == "text":
            tokenizer_fingerprint(self)
        if is_none(source):
            return
        source = self.published_source() if source == "pretrained" else str(source)
        # A folder may hold anything: only loading it tells. That is done once, when the model is built.
        if not Path(source).exists() and not is_cached(source):
            config_at(source, "encoder_weights")  # before a network is built for nothing
            donor_of(self.build(frames, size), source)

    def published_source(self) -> str:
        """The hub id or folder of its own weights; raises :class:`MicroLensError` where there are none."""
        if not self.source:
            raise MicroLensError(
                f"encoder_weights: nobody published weights of '{self.name}'. Set `encoder_weights` to none, "
                "or to a folder or file."
            )
        return self.source


def build_network(get_config: Callable, frames: int, size: int) -> nn.Module:
    """Build a network with random weights for clips or pictures of this shape.

    Parameters
    ----------
    get_config : callable
        ``() -> PretrainedConfig``.
    frames, size : int
        Frames of a clip, and height and width in pixels; they do not matter for text.

    Returns
    -------
    nn.Module
        Parameters that its features do not depend on are frozen.

    Raises
    ------
    MicroLensError
        A shape that the network cannot take.
    """
    config = fit(get_config(), frames, size)
    cls = model_class(config)
    with explained(
        f"encoder: transformers cannot build {cls.__name__}",
        "Check the encoder's config.json and `frame_size`.",
    ):
        network = cls(config, **model_options(cls))
    family = family_of(config)
    for name in _unused(network, family) | _constant(network, family):
        network.get_parameter(name).requires_grad_(False)
    return network


def _unused(network: Network, family: Family) -> set[str]:
    """Names of the parameters that the features do not depend on."""
    in_stages = {
        id(parameter)
        for names in family.stages(network)
        for name in names
        for parameter in network.get_submodule(name).parameters()
    }
    unused = {
        name
        for name, parameter in network.named_parameters()
        if id(parameter) not in in_stages or name in family.unused
    }
    return unused - _constant(network, family)


def _constant(network: Network, family: Family) -> set[str]:
    """Names of the parameters that the features depend on and that never train."""
    modules = family.constant if isinstance(family, AudioFamily) else ()
    named = [(module, network.get_submodule(module).named_parameters()) for module in modules]
    return {f"{module}.{name}" for module, parameters in named for name, _ in parameters}


def frames_first(clips: Tensor) -> Tensor:
    """Clips [N, 3, T, S, S] -> [N, T, 3, S, S], as ``transformers`` takes them."""
    return clips.transpose(1, 2)


@dataclass(frozen=True)
class EnlargeToPatches:
    """Pictures [N, 3, S, S] or clips [N, T, 3, S, S] -> the next multiple of ``patch`` pixels, so that no
    border is lost.
    """

    patch: int

    def __call__(self, pictures: Tensor) -> Tensor:
        size = next_multiple(pictures.shape[-1], self.patch)
        if size == pictures.shape[-1]:
            return pictures
        flat = pictures.flatten(0, -4)
        larger = interpolate(flat, size=(size, size), mode="bilinear", align_corners=False)
        return larger.unflatten(0, pictures.shape[:-3])


@dataclass(frozen=True)
class EnlargedFramesFirst(EnlargeToPatches):
    """Clips [N, 3, T, S, S] -> [N, T, 3, S', S'], S' the next multiple of ``patch`` pixels."""

    def __call__(self, pictures: Tensor) -> Tensor:
        return super().__call__(frames_first(pictures))


def pathways_of(config, modality: str) -> Callable[[Tensor], Tensor] | None:
    """What ``Encoder.prepare`` does to the pixels of this architecture."""
    resizes, patch = family_of(config).resizes, patch_of(config)[1]
    if modality == "video":
        return EnlargedFramesFirst(patch) if resizes else frames_first
    return EnlargeToPatches(patch) if modality == "image" and resizes else None
