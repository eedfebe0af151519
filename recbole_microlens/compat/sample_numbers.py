"""RecBole's loaders without a Python list of all sample numbers, which takes 36 bytes for each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, RandomSampler

_NUMBERS_AT_ONCE = 1 << 16
LoaderT = TypeVar("LoaderT", bound=DataLoader)


@contextmanager
def numbers_as_ranges() -> Iterator[None]:
    """Inside the block a loader of RecBole's that is made has ``range(n)`` where it would have a list."""
    from recbole.data.dataloader import abstract_dataloader

    abstract_dataloader.list = _as_it_is
    try:
        yield
    finally:
        del abstract_dataloader.list


def _as_it_is(values) -> range | list:
    return values if isinstance(values, range) else list(values)


def shuffle_without_a_list(loader: LoaderT) -> LoaderT:
    """Let a loader that shuffles give the same samples in the same order, of which it makes no list."""
    batches = loader.batch_sampler
    drawn = getattr(batches, "sampler", None)
    if type(drawn) is RandomSampler:
        # Not of `loader.dataset`, which is RecBole's.
        batches.sampler = Permutation(drawn.data_source, generator=drawn.generator)  # type: ignore
    return loader


class Permutation(RandomSampler):
    """torch's random sampler without replacement, drawing the same, in pieces instead of one list."""

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.data_source), generator=self.generator)
        for piece in order.split(_NUMBERS_AT_ONCE):
            yield from piece.tolist()
        del order, piece
        # torch draws a second one, of which it takes nothing: the generator goes on as there.
        torch.randperm(len(self.data_source), generator=self.generator)
