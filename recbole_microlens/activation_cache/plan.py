"""Whether an activation cache is worth its disk and its time, and of which items: planned before anything is
built.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.activation_cache.memory import available_memory, in_words
from recbole_microlens.activation_cache.row_format import RowFormat
from recbole_microlens.activation_cache.store import CacheMeta
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.items.constant_part import constant_part

# What stays free for everything else on the disk.
_SPARE_BYTES = 1 << 30
# A slow disk. Only for caches that do not fit into memory: their rows come from the disk in every epoch.
_DISK_BYTES_PER_SECOND = 2e8
_PROBED_ITEMS = 2
# Of what is free, that stays free where a cache takes as much as it can get.
_SPARE_SHARE = 0.1
_FREE_SOME = (
    "Free disk space, set `activation_cache` to a folder on another disk, or use `activation_cache_dtype: "
    "fp16`, or uint8"
)


@dataclass(frozen=True)
class Work:
    """How often a run passes items through the trunk when it has no cache.

    Attributes
    ----------
    epochs, rankings : int
        At most; a ranking encodes every item once.
    items_an_epoch : int
        Items encoded in all batches of an epoch.
    draws : Callable[[], Tensor], optional
        How many batches of an epoch each item is expected in, [n_items]; asked for only where not all items
        can be cached. All alike by default.
    """

    epochs: int
    rankings: int
    items_an_epoch: int
    draws: Callable[[], Tensor] | None = None

    def items(self, n_items: int) -> int:
        return self.epochs * self.items_an_epoch + self.rankings * n_items

    def passes_twice(self, draws: np.ndarray) -> np.ndarray:
        """Which items the run is expected to pass through the trunk more than once, [n_items] bool."""
        return self.epochs * draws + self.rankings > 1

    def draws_of(self, n_items: int) -> np.ndarray:
        """Expected draws of each item in an epoch, [n_items] float64; padding has none."""
        if self.draws is None:
            drawn = np.full(n_items, self.items_an_epoch / max(n_items - 1, 1))
        else:
            drawn = self.draws().double().numpy().copy()
        drawn[0] = 0
        return drawn


@dataclass(frozen=True)
class Probe:
    """What the constant part gives for an item, and how long it takes.

    Attributes
    ----------
    formats : tuple[RowFormat, ...], or None
        Of the rows; ``None`` where its output has no row for each item.
    seconds : float
        For one item.
    """

    formats: tuple[RowFormat, ...] | None
    seconds: float


@torch.inference_mode()
def probe(encoder: Encoder, reader, n_items: int, dtype: torch.dtype, device: torch.device) -> Probe:
    """Pass one or two items through the constant part, twice; the second time counts."""
    item_ids = torch.arange(1, min(n_items, 1 + _PROBED_ITEMS))
    content = reader.read(item_ids).to(device)
    constant_part(encoder, content)
    start = _now(device)
    rows = constant_part(encoder, content).tensors
    seconds = (_now(device) - start) / len(item_ids)
    if any(tensor.size(0) != len(item_ids) for tensor in rows):
        return Probe(None, seconds)
    return Probe(tuple(RowFormat.of(tensor, dtype) for tensor in rows), seconds)


def reason_against(meta: CacheMeta, work: Work) -> str | None:
    """Why a cache would cost more time than it saves, or ``None`` where it pays."""
    if work.items(meta.n_items) <= meta.n_items:
        return "this run passes no item through the trunk twice"
    return None


def memory_limit(meta: CacheMeta, seconds_an_item: float, device: torch.device) -> int | None:
    """Bytes of rows that memory holds, where reading more of them from a slow disk in every epoch would take
    longer than computing them; ``None`` where it would not.
    """
    if meta.row_bytes / _DISK_BYTES_PER_SECOND <= seconds_an_item:
        return None
    return max(available_memory(device), available_memory(torch.device("cpu")))


@dataclass(frozen=True)
class Room:
    """How many bytes of rows there is room for.

    Attributes
    ----------
    size : int
    reason, remedy : str
        What allows no more, and what the user can do about it.
    """

    size: int
    reason: str
    remedy: str


def room(folder: Path, there: int, max_bytes: int | None, in_memory: int | None) -> Room:
    """What a cache may take in all.

    Parameters
    ----------
    folder : Path
        Where it lies, or will.
    there : int
        Bytes that it takes already.
    max_bytes, in_memory : int | None
        The user's limit, and that of :func:`memory_limit`.
    """
    free = _free(folder)
    on_disk = free + there
    disk = int(min(on_disk - _SPARE_BYTES, on_disk * (1 - _SPARE_SHARE)))
    reason = f"{in_words(free)} are free in {folder.parent}, of which a tenth, or 1 GB, is kept"
    rooms = [Room(max(disk, 0), reason, _FREE_SOME)]
    if max_bytes is not None:
        rooms.append(Room(max_bytes, f"`activation_cache_max_gb` is {max_bytes / 1e9:g}", "Raise it"))
    if in_memory is not None:
        rooms.append(
            Room(
                in_memory,
                f"more than {in_words(in_memory)} do not fit into memory, and reading from a slow disk is "
                "slower than computing",
                "Set `activation_cache` to a folder to build it all the same",
            )
        )
    return min(rooms, key=lambda room: room.size)


def most_drawn(draws: np.ndarray, held: np.ndarray, n_more: int) -> np.ndarray:
    """The ids of at most so many items that are not held yet, those drawn most often first.

    Parameters
    ----------
    draws : np.ndarray [n_items]
        Expected draws; equal ones in the order of ids.
    held : np.ndarray [n_items], bool
    n_more : int
    """
    order = np.argsort(-draws, kind="stable")
    return order[(order > 0) & ~held[order]][: max(n_more, 0)]


def share_served(draws: np.ndarray, held: np.ndarray) -> float:
    """Which part of all draws is of held items; 1 where there are none."""
    total = draws.sum()
    return float(draws[held].sum() / total) if total else 1.0


def expected_draws(shares: Tensor, n_samples: int, batch_size: int) -> Tensor:
    """In how many batches of an epoch an item is expected: ``n (1 - (1 - p)^b)`` for n batches of b samples.

    An item is encoded once for a batch, however many of its samples contain it.

    Parameters
    ----------
    shares : Tensor [n_items]
        p, the probability that a sample contains the item, in its input, as its target or as a negative.
    n_samples : int
        Samples of an epoch.
    batch_size : int
        b; of several processes, the samples of one.

    Returns
    -------
    Tensor [n_items], float64
    """
    absent = torch.log1p(-shares.double().clamp(0, 1))
    return (n_samples / batch_size) * -torch.expm1(batch_size * absent)


def lacking_space(folder: Path, needed: int) -> str | None:
    """What the disk lacks for so many bytes in a folder that may not be there yet, or ``None``."""
    free = _free(folder)
    if free - needed >= _SPARE_BYTES:
        return None
    return f"{in_words(needed)} are needed in {folder}, {in_words(free)} are free (1 GB of them is kept free)"


def _free(folder: Path) -> int:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def fits(size: int, device: torch.device, fraction: float) -> bool:
    """Whether so many bytes fit into a fraction of the free memory of a device."""
    return size <= fraction * available_memory(device)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
