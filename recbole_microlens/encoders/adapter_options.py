"""What adapters are like: their kind and their sizes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdapterOptions:
    """How an encoder is adapted.

    Attributes
    ----------
    mode : str
        A key of :data:`~recbole_microlens.encoders.adapters.table.ADAPTERS`.
    rank : int
        Of LoRA's update of a layer.
    alpha : float
        LoRA's update is scaled by ``alpha / rank``.
    dropout : float
        Of what LoRA's update sees, while training.
    size : int
        Width of a bottleneck, of adapters and of side networks.
    layers : tuple of int, optional
        Numbers of the stages whose states a side network reads, 0 for the lowest; by default every second
        one from the top down, see :func:`~recbole_microlens.encoders.adapters.side.chosen_layers`.
    """

    mode: str
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    size: int = 64
    layers: tuple[int, ...] | None = None
