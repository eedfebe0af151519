"""The table of all encoders: what each costs, what it was trained on, and how fast it is here."""

from __future__ import annotations

import torch

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.registry import create_encoder


def on_meta(name: str, frames: int, size: int, **options) -> Encoder:
    """An encoder without memory or values, for counting and for shapes."""
    try:
        with torch.device("meta"):
            return create_encoder(name, frames, size, **options)
    except RuntimeError:  # MViT reads its widths off tensors while it is built, which "meta" cannot.
        return create_encoder(name, frames, size, **options).to("meta")
