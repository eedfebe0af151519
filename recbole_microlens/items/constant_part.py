"""The part of an encoder whose output for an item never changes, and so needs to be computed once only."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.media_batch import Content
from recbole_microlens.items.partly_cached import PartlyCached


def has_constant_part(encoder: Encoder) -> bool:
    """Whether the lowest part of the encoder is frozen."""
    return encoder.trainable_stages < encoder.n_stages and not encoder.trains_embeddings


def constant_part(encoder: Encoder, content: Tensor) -> TrunkOutput:
    """What the frozen part gives for U items.

    Parameters
    ----------
    encoder : Encoder
    content : Tensor [U, ...]
        As the encoder takes it.

    Returns
    -------
    TrunkOutput
        The state below the stages that train; or the features [U, feature_dim] where the whole encoder is
        frozen, pooled only where its head draws at random in training.
    """
    if not encoder.trainable_stages and encoder.draws:
        return TrunkOutput.of(encoder.pooled(content))
    return encoder.forward_trunk(content, encoder.trainable_stages)


def features_of(encoder: Encoder, content: Content) -> Tensor:
    """Features of U items.

    Parameters
    ----------
    encoder : Encoder
    content : Tensor [U, ...], TrunkOutput or PartlyCached
        The items' content, or what :func:`constant_part` gave for it, or for some of them. That may have been
        stored in fewer bits: it is computed on in float32, or as autocast likes.

    Returns
    -------
    Tensor [U, feature_dim]
    """
    if isinstance(content, Tensor):
        return encoder(content)
    is_partly = isinstance(content, PartlyCached)
    output = content.completed(partial(constant_part, encoder)) if is_partly else content.float()
    if not encoder.trainable_stages and encoder.draws:
        return encoder.through_head(output.features)
    return encoder.forward_top(output, encoder.trainable_stages)
