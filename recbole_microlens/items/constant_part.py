"""The part of an encoder whose output for an item never changes, and so needs to be computed once only."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from recbole_microlens.encoders.encoder import Encoder, TrunkOutput
from recbole_microlens.items.media_batch import Content


def has_constant_part(encoder: Encoder) -> bool:
    """Whether the lowest part of the encoder is frozen."""
    return encoder.trainable_stages < encoder.n_stages and not encoder.trains_embeddings


def constant_part(encoder: Encoder) -> Callable[[Tensor], TrunkOutput]:
    """From items' content to a tuple of tensors [U, ...]: the trunk's output, or the features
    [U, feature_dim] where the whole encoder is frozen, pooled only where its head draws in training.
    """
    if encoder.trainable_stages:
        return encoder.trunk(encoder.trainable_stages)
    if encoder.draws:
        return lambda content: (encoder.pooled(content),)
    return lambda content: (encoder(content),)


def features_of(encoder: Encoder, content: Content) -> Tensor:
    """Features [U, feature_dim] from items' content, or from what :func:`constant_part` gave for it.

    The tuple may have been stored in half precision: it is computed on in float32, or as autocast likes.
    """
    if not isinstance(content, tuple):
        return encoder(content)
    rows = tuple(part.float() if part.is_floating_point() else part for part in content)
    if encoder.trainable_stages:
        return encoder(rows)
    return encoder.through_head(rows[0]) if encoder.draws else rows[0]
