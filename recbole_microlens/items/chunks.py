"""Encode many items with bounded memory: in chunks, which the backward pass computes again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from logging import getLogger

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from recbole_microlens.items.constant_part import constant_part, has_constant_part
from recbole_microlens.items.media_batch import ItemMedia


def encode_in_chunks(
    encode: Callable[[ItemMedia], Tensor], towers: nn.ModuleDict, media: ItemMedia, size: int
) -> Tensor:
    """Embeddings [U, d], encoded ``size`` items at a time.

    The gradients are those of one pass. Only a BatchNorm in training mode tells chunks from one pass: its
    statistics are those of a chunk. Its running statistics are updated once by each chunk.

    Parameters
    ----------
    encode : U items -> [U, d].
    towers : what ``encode`` runs. Their frozen parts run once only, because nothing of them is needed in the
        backward pass.
    """
    if not torch.is_grad_enabled():
        return torch.cat([encode(chunk) for chunk in media.chunks(size)])
    if any(_updates_statistics(module) for module in towers.modules()):
        _say_statistics_are_of_chunks(size)

    def contexts():
        return nullcontext(), _running_statistics_kept(towers)

    return torch.cat(
        [
            checkpoint(encode, _through_frozen_parts(towers, chunk), use_reentrant=False, context_fn=contexts)
            for chunk in media.chunks(size)
        ]
    )


@torch.no_grad()
def _through_frozen_parts(towers: nn.ModuleDict, media: ItemMedia) -> ItemMedia:
    content = dict(media.content)
    for name, tower in towers.items():
        encoder = getattr(tower, "encoder", None)
        if isinstance(content.get(name), Tensor) and encoder is not None and has_constant_part(encoder):
            content[name] = constant_part(encoder)(content[name])
    return ItemMedia(media.item_ids, content)


@contextmanager
def _running_statistics_kept(towers: nn.ModuleDict) -> Iterator[None]:
    """While a chunk is computed again, its statistics do not count a second time."""
    updating = [module for module in towers.modules() if _updates_statistics(module)]
    before = [(module.momentum, module.num_batches_tracked.clone()) for module in updating]
    for module in updating:
        module.momentum = 0.0
    try:
        yield
    finally:
        for module, (momentum, batches) in zip(updating, before, strict=True):
            module.momentum = momentum
            module.num_batches_tracked.copy_(batches)


def _updates_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.training and module.track_running_stats


@cache
def _say_statistics_are_of_chunks(size: int) -> None:
    getLogger().warning(
        f"encode_chunk: BatchNorm in training mode takes its statistics from chunks of {size} items, not "
        "from all items of the batch. Set `freeze_bn_statistics: true` for the same result as in one pass."
    )
