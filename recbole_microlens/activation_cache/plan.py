"""Whether an activation cache is worth its disk and its time: estimated before anything is built."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch

from recbole_microlens.activation_cache.memory import available_memory, in_words
from recbole_microlens.activation_cache.store import CacheMeta, RowFormat
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.items.constant_part import constant_part

# What stays free for everything else on the disk.
_SPARE_BYTES = 1 << 30
# A slow disk. Only for caches that do not fit into memory: their rows come from the disk in every epoch.
_DISK_BYTES_PER_SECOND = 2e8
_PROBED_ITEMS = 2


@dataclass(frozen=True)
class Work:
    """How often a run passes items through the trunk when it has no cache.

    Attributes
    ----------
    epochs, rankings : int
        At most; a ranking encodes every item once.
    items_an_epoch : int
        Items encoded in all batches of an epoch.
    """

    epochs: int
    rankings: int
    items_an_epoch: int

    def items(self, n_items: int) -> int:
        return self.epochs * self.items_an_epoch + self.rankings * n_items


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


def reason_against(meta: CacheMeta, seconds_an_item: float, work: Work, device: torch.device) -> str | None:
    """Why a cache would cost more time than it saves, or ``None`` where it pays."""
    if work.items(meta.n_items) <= meta.n_items:
        return "this run passes no item through the trunk twice"
    from_disk = meta.row_bytes / _DISK_BYTES_PER_SECOND
    if from_disk > seconds_an_item and meta.size > max(
        available_memory(device), available_memory(torch.device("cpu"))
    ):
        return (
            f"{in_words(meta.size)} do not fit into memory, and reading from a slow disk ({from_disk:.2g} s "
            f"an item) is slower than computing ({seconds_an_item:.2g} s an item)"
        )
    return None


def lacking_space(folder: Path, needed: int) -> str | None:
    """What the disk lacks for so many bytes in a folder that may not be there yet, or ``None``."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free - needed >= _SPARE_BYTES:
        return None
    return f"{in_words(needed)} are needed in {folder}, {in_words(free)} are free (1 GB of them is kept free)"


def fits(size: int, device: torch.device, fraction: float) -> bool:
    """Whether so many bytes fit into a fraction of the free memory of a device."""
    return size <= fraction * available_memory(device)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()
