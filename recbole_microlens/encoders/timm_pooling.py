"""How networks of timm pool: by their own head, which can often be told to pool in another way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from recbole_microlens.errors import MicroLensError

# timm's `global_pool`; those with weights of their own (`map`) are kept where a network has them.
POOLINGS = ("token", "avg", "max", "avgmax", "catavgmax", "map")


@dataclass(frozen=True)
class StatePool:
    """What a stage below the head gives -> one vector: the class token by ``token``, else the mean over all
    places.

    Attributes
    ----------
    pooling : str
        Of :data:`POOLINGS`, or the name of another.
    n_prefix : int
        How many class tokens and registers stand before the patches.
    channels_last : bool
        Maps are [N, H, W, C].
    """

    pooling: str
    n_prefix: int = 0
    channels_last: bool = False

    def __call__(self, features: Tensor) -> Tensor:
        """Tokens [N, L, C], maps [N, C, H, W] or [N, H, W, C], or vectors [N, C]: [N, C]."""
        if features.dim() == 4:
            return features.mean((1, 2) if self.channels_last else (2, 3))
        if features.dim() != 3:
            return features
        is_token = self.pooling == "token" and self.n_prefix
        return features[:, 0] if is_token else features[:, self.n_prefix :].mean(1)


@dataclass(frozen=True)
class HeadPool:
    """What ``forward_features`` gives -> features [N, d], by the network's own head.

    Attributes
    ----------
    head : callable
        Its ``forward_head``, without the classes.
    channels_last : bool
        Maps are [N, H, W, C].
    """

    head: Callable[[Tensor], Tensor]
    channels_last: bool = False

    def __call__(self, features: Tensor) -> Tensor:
        return self.head(features)


def own_pooling(network: nn.Module) -> str:
    """The name of how a network pools, as it is."""
    for owner in (network, getattr(network, "head", None)):
        pool = getattr(owner, "global_pool", None)
        for name in (pool, getattr(pool, "pool_type", None), getattr(owner, "pool_type", None)):
            if isinstance(name, str) and name:
                return name.removeprefix("fast") or "avg"  # timm's names of the same, computed otherwise
    return "own"


def set_pooling(network: Any, pooling: str | None) -> None:
    """Tell a network's head to pool in another way; where its norm stands and what it has of weights stays.

    Raises
    ------
    MicroLensError
        It cannot pool so.
    """
    if pooling in (None, own_pooling(network)):
        return
    try:
        network.reset_classifier(network.num_classes, pooling)
        done = own_pooling(network) == pooling
    except Exception:  # AssertionError, TypeError: whatever a network says of a pooling that it has not
        done = False
    if not done:
        raise MicroLensError(f"encoder_pooling: the network cannot pool by '{pooling}'. Leave it empty.")


def other_poolings(network: Any, states: Any) -> tuple[str, ...]:
    """The poolings that a network takes in the place of its own; afterwards it is of no use.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    states : Tensor
        What its ``forward_features`` gives.
    """
    own, found = own_pooling(network), []
    for pooling in (name for name in POOLINGS if name != own):
        try:
            set_pooling(network, pooling)
            if network.forward_head(states, pre_logits=True).dim() == 2:
                found.append(pooling)
        except Exception:  # of its head, where the network took the name
            continue
    return tuple(found)
