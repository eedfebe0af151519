"""The table of all encoders: what each costs, what it was trained on, and how fast it is here."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import torch
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.example_content import example_content
from recbole_microlens.encoders.registry import ENCODERS, create_encoder

_SECONDS = 1.0
_STAGES = 6
_HEADERS = {
    "name": "encoder",
    "paper_name": "in the paper",
    "modality": "modality",
    "parameters": "parameters (M)",
    "trainable": "of the top 1, 2, ... stages (M)",
    "feature_dim": "features",
    "trained_on": "trained on",
    "licence": "licence of the weights",
    "gigaflops": "GFLOPs",
    "items_per_second": "items/s here",
}


@dataclass(frozen=True)
class Listed:
    """One line of the table.

    Attributes
    ----------
    parameters : int
        Of the network without its classification layer.
    trainable : tuple of int
        Parameters of the top 1, 2, ... stages.
    weights : str
        Where the published ones come from.
    gigaflops : float
        Of one item, forward, in 10^9 multiply-adds, as papers count them.
    items_per_second : float, optional
        Forward, in batches of 4, on the CPU; None if it was not measured.
    """

    name: str
    paper_name: str
    modality: str
    parameters: int
    trainable: tuple[int, ...]
    feature_dim: int
    trained_on: str
    licence: str
    weights: str
    gigaflops: float
    items_per_second: float | None = None


def list_encoders(
    modality: str | None = None,
    measure: bool = False,
    frames: int = 5,
    size: int = 224,
    progress: bool = True,
) -> list[Listed]:
    """Describe the encoders of the registry, in its order.

    Parameters
    ----------
    modality : {'video', 'image', 'text', 'audio'}, optional
        Leave out the others.
    measure : bool
        Time the forward pass of each on this machine's CPU.
    frames, size : int
        Of the clips, in frames and pixels; a title has 30 tokens, a sound is one window of 10 seconds.
    progress : bool
        Show a bar.
    """
    specs = [spec for spec in ENCODERS.values() if modality in (None, spec.modality)]
    bar = tqdm(specs, desc="encoders", unit="", disable=None if progress else True)
    return [describe(spec.name, measure, frames, size) for spec in bar]


def describe(name: str, measure: bool = False, frames: int = 5, size: int = 224) -> Listed:
    """Describe one encoder; without ``measure`` no number of it is computed, so that this is fast."""
    encoder = on_meta(name, EncoderOptions(frames, size)).eval()
    spec = encoder.spec
    parts = [sum(parameter.numel() for parameter in stage.parameters()) for stage in encoder.stages()]
    return Listed(
        name=name,
        paper_name=spec.paper_name,
        modality=spec.modality,
        parameters=sum(parts),
        trainable=tuple(sum(parts[-top:]) for top in range(1, len(parts) + 1)),
        feature_dim=encoder.feature_dim,
        trained_on=spec.published.trained_on,
        licence=spec.published.licence,
        weights=spec.published.url,
        gigaflops=_multiply_adds(encoder, frames, size) / 1e9,
        items_per_second=_items_per_second(name, frames, size) if measure else None,
    )


def as_table(listed: list[Listed], markdown: bool = False) -> str:
    """The lines as a table for a terminal, or for a README; the addresses of the weights are left out."""
    cells = [{key: _cell(key, value) for key, value in asdict(line).items()} for line in listed]
    rows = [{header: cell[key] for key, header in _HEADERS.items()} for cell in cells]
    if all(line.items_per_second is None for line in listed):
        for row in rows:
            del row[_HEADERS["items_per_second"]]
    return tabulate(rows, headers="keys", tablefmt="pipe" if markdown else "simple", disable_numparse=True)


def on_meta(name: str, options: EncoderOptions, modality: str | None = None) -> Encoder:
    """An encoder without memory or values, for counting and for shapes."""
    try:
        with torch.device("meta"):
            return create_encoder(name, options, modality)
    except RuntimeError:  # MViT reads its widths off tensors while it is built, which "meta" cannot.
        return create_encoder(name, options, modality).to("meta")


def content_for_shapes(encoder: Encoder, frames: int, size: int) -> torch.Tensor:
    """The content of one item, which an encoder of :func:`on_meta` computes shapes with."""
    device = "meta"
    if encoder.spec.modality == "text":  # transformers looks at the values of a mask.
        device = "cpu"
        encoder.to_empty(device=device)
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            tensor.zero_()
    return example_content(encoder.spec, 1, frames, size, device)


@torch.no_grad()
def _multiply_adds(encoder: Encoder, frames: int, size: int) -> float:
    content = content_for_shapes(encoder, frames, size)
    with FlopCounterMode(display=False) as counter:
        encoder(content)
    return counter.get_total_flops() / 2


@torch.no_grad()
def _items_per_second(name: str, frames: int, size: int, batch: int = 4) -> float:
    encoder = create_encoder(name, EncoderOptions(frames, size)).eval()
    content = example_content(encoder.spec, batch, frames, size)
    encoder(content)
    batches, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        encoder(content)
        batches += 1
    return batches * batch / (time.perf_counter() - start)


def _cell(key: str, value) -> str:
    if key == "parameters":
        return f"{value / 1e6:.1f}"
    if key == "trainable":
        shown = [f"{each / 1e6:.1f}" for each in value]
        return ", ".join(shown if len(shown) <= _STAGES else [*shown[: _STAGES - 2], "...", shown[-1]])
    if key in ("gigaflops", "items_per_second"):
        return "" if value is None else f"{value:.1f}"
    return str(value)
