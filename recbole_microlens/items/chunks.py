"""Encode many items with bounded memory: in chunks, which the backward pass computes again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from logging import getLogger

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_microlens.encoders.batchnorm import counted_before, takes_statistics
from recbole_microlens.items.constant_part import constant_part, has_constant_part
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.partly_cached import PartlyCached


def encode_in_chunks(
    encode: Callable[[ItemMedia], Tensor], towers: nn.ModuleDict, media: ItemMedia, size: int
) -> Tensor:
    """Embeddings [U, d], encoded ``size`` items at a time.

    The gradients are those of one pass. Only a BatchNorm in training mode tells chunks from one pass: its
    statistics are those of a chunk. Its running statistics are updated once by each chunk.

    Parameters
    ----------
    encode : Callable[[ItemMedia], Tensor]
        U items -> [U, d].
    towers : nn.ModuleDict
        What ``encode`` runs. Their frozen parts run once only, because nothing of them is needed in the
        backward pass.
    """
    if not torch.is_grad_enabled():
        return torch.cat([encode(chunk) for chunk in media.chunks(size)])
    if takes_statistics(towers):
        _say_statistics_are_of_chunks(size)

    def contexts():
        return nullcontext(), counted_before(towers.values())

    def encoded(chunk: ItemMedia) -> Tensor:
        # By the tensors among its arguments, checkpoint knows the GPUs whose random state it keeps, for
        # dropout.
        return checkpoint(
            lambda *_: encode(chunk),
            *chunk.tensors(),
            use_reentrant=False,
            context_fn=contexts,
        )

    return torch.cat([encoded(_through_frozen_parts(towers, chunk)) for chunk in media.chunks(size)])


@torch.no_grad()
def _through_frozen_parts(towers: nn.ModuleDict, media: ItemMedia) -> ItemMedia:
    content = dict(media.content)
    for name, tower in towers.items():
        encoder = getattr(tower, "encoder", None)
        part = content.get(name)
        if isinstance(part, PartlyCached):
            content[name] = part.through(partial(constant_part, encoder))
        elif isinstance(part, Tensor) and encoder is not None and has_constant_part(encoder):
            content[name] = constant_part(encoder, part)
    return ItemMedia(media.item_ids, content)


@cache
def _say_statistics_are_of_chunks(size: int) -> None:
    getLogger().warning(
        f"encode_chunk: BatchNorm in training mode takes its statistics from chunks of {size} items, not "
        "from all items of the batch. Set `freeze_bn_statistics: true` for the same result as in one pass."
    )
