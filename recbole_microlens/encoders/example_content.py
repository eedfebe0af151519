"""Content of no item in particular, in the shape that an encoder takes: for counting, timing and shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_microlens.encoders.spec import EncoderSpec

TOKENS = 30
SECONDS = 10


def example_content(
    spec: EncoderSpec, items: int, frames: int, size: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Black frames, titles of 30 tokens, or sounds of one window of 10 seconds.

    Parameters
    ----------
    spec : EncoderSpec
        Its modality says which.
    items : int
    frames, size : int
        Of the clips, in frames and pixels; they do not matter for text and sound.
    device : torch.device or str

    Returns
    -------
    Tensor [items, ...]
        As :meth:`~recbole_microlens.encoders.encoder.Encoder.forward` takes it.
    """
    if spec.modality == "text":
        return torch.ones(items, 2, TOKENS, dtype=torch.int32, device=device)
    if spec.sample_rate:
        return torch.ones(items, 1, SECONDS * spec.sample_rate, dtype=torch.int16, device=device)
    shape = (items, frames, size, size, 3) if spec.modality == "video" else (items, size, size, 3)
    return torch.zeros(shape, dtype=torch.uint8, device=device)
