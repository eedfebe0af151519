"""What an encoder is and costs, once it is loaded: ``recbole-microlens encoders --check``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.example_content import TOKENS, example_content
from recbole_microlens.encoders.registry import create_encoder, encoder_spec

_ITEMS = 2
_RUNS = 3


@dataclass(frozen=True)
class TopStages:
    """What it costs to train some top stages.

    Attributes
    ----------
    stages, parameters : int
        How many train, and their parameters.
    bytes_an_item : int
        What the forward pass keeps of an item for the backward pass.
    seconds_an_item : float
        Forward and backward of the whole encoder, the lower stages without gradients.
    """

    stages: int
    parameters: int
    bytes_an_item: int
    seconds_an_item: float


@dataclass(frozen=True)
class Checked:
    """A loaded encoder.

    Attributes
    ----------
    name, network : str
        As it was asked for, and the class of its network.
    looks_at : tuple of str
        Modalities; that of its own first.
    stages : tuple of str
        The lowest module of each, the lowest stage first.
    can_be_cut : bool
        Whether part of it can train.
    input : str
        What it takes of an item.
    feature_dim : int
    poolings : tuple of str
        Its own first.
    parameters, weight_bytes : int
        Of the network without what the features do not depend on.
    seconds_an_item : float
        Forward, in batches of 2.
    trained : tuple of TopStages
        With the top 1 and 2 stages and with all.
    device : str
        What the times were measured on.
    """

    name: str
    network: str
    looks_at: tuple[str, ...]
    stages: tuple[str, ...]
    can_be_cut: bool
    input: str
    feature_dim: int
    poolings: tuple[str, ...]
    parameters: int
    weight_bytes: int
    seconds_an_item: float
    trained: tuple[TopStages, ...]
    device: str


def check_encoder(
    name: str, modality: str | None = None, frames: int = 5, size: int = 224, weights: str = "pretrained"
) -> Checked:
    """Load an encoder, run it, and say what it is.

    Parameters
    ----------
    name : str
        As ``--encoder`` takes it.
    modality : str, optional
        What it is to look at; by default its own.
    frames, size : int
        Of a clip, in frames and pixels.
    weights : str
        As ``encoder_weights``.

    Raises
    ------
    MicroLensError
        It cannot be used, and why.
    """
    spec = encoder_spec(name, modality)
    encoder = create_encoder(name, EncoderOptions(frames, size, weights), modality)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder.to(device)
    content = example_content(spec, _ITEMS, frames, size, device)
    parts = [sum(p.numel() for p in stage.parameters()) for stage in encoder.stages()]
    can_be_cut = getattr(spec, "is_known", True) and len(parts) > 1
    counts = sorted({1, min(2, len(parts)), len(parts)} if can_be_cut else {len(parts)})
    with torch.no_grad():
        seconds = _seconds(lambda: encoder.eval()(content), device) / _ITEMS
    return Checked(
        name=name,
        network=type(encoder.network).__name__,
        looks_at=_modalities(name, spec.modality),
        stages=tuple(names[0] if names[0] else "the whole network" for names in encoder.spec.stages),
        can_be_cut=can_be_cut,
        input=_input(encoder, frames, size),
        feature_dim=encoder.feature_dim,
        poolings=tuple(spec.pools),
        parameters=sum(parts),
        weight_bytes=sum(p.numel() * p.element_size() for s in encoder.stages() for p in s.parameters()),
        seconds_an_item=seconds,
        trained=tuple(_trained(encoder, content, top, sum(parts[-top:]), device) for top in counts),
        device=torch.cuda.get_device_name() if device == "cuda" else "CPU",
    )


def _modalities(name: str, own: str) -> tuple[str, ...]:
    """What an encoder may look at, its own modality first."""
    others = [other for other in ("video", "image") if other != own]
    return (own, *(other for other in others if encoder_spec(name, other).modality == other))


def _input(encoder: Encoder, frames: int, size: int) -> str:
    if encoder.spec.modality == "text":
        return f"tokens, here {TOKENS}"
    if encoder.spec.modality == "image":
        return f"a picture of {size} x {size} pixels"
    if encoder.spec.modality == "video":
        return f"{frames} frames of {size} x {size} pixels"
    return f"{encoder.spec.modality}, here 10 seconds"


def _trained(encoder: Encoder, content: Tensor, top: int, parameters: int, device: str) -> TopStages:
    """Run steps of the top stages of an encoder, without changing its weights."""

    def step() -> None:
        encoder.zero_grad()
        with torch.no_grad():
            below = encoder.forward_trunk(content, top)
        encoder.forward_top(below, top).square().sum().backward()

    encoder.train()
    kept = _kept_for_backward(encoder, content, top)
    seconds = _seconds(step, device) / _ITEMS
    encoder.zero_grad()
    return TopStages(top, parameters, kept // _ITEMS, seconds)


def _kept_for_backward(encoder: Encoder, content: Tensor, top: int) -> int:
    """Bytes that the forward pass of the top stages keeps beside the weights."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.no_grad():
        below = encoder.forward_trunk(content, top)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features = encoder.forward_top(below, top)  # while they are here, no place in memory is used twice
    del features
    return sum(kept.values())


def _seconds(run: Callable[[], Any], device: str) -> float:
    """Of one run, the mean after a first one."""
    run()
    _wait(device)
    start = time.perf_counter()
    for _ in range(_RUNS):
        run()
    _wait(device)
    return (time.perf_counter() - start) / _RUNS


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
