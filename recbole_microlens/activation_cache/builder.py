"""Builds activation caches: each process of a run its share, waiting for another run that builds the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from recbole_microlens import distributed
from recbole_microlens.activation_cache import growing
from recbole_microlens.activation_cache.build import (
    DONE,
    Overflow,
    Pace,
    PartialCache,
    overflow_path,
    partial_path,
    sole,
    sole_builder,
)
from recbole_microlens.activation_cache.growing import GrowingCache, Part, growing_path, open_growing
from recbole_microlens.activation_cache.in_use import held as held_file
from recbole_microlens.activation_cache.memory import in_words
from recbole_microlens.activation_cache.plan import Room, Work, lacking_space, most_drawn, room, share_served
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.activation_cache.shares import SharedCache, listed, without_parts
from recbole_microlens.activation_cache.store import CachedRows, CacheMeta, open_cache
from recbole_microlens.compat.loader_workers import EndWithParent, hand_over
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder
from recbole_microlens.items.constant_part import constant_part
from recbole_microlens.media.shards import Shard


class CacheBuilder:
    """Builds the cache of one modality: of all items where there is room for them, else of those that are
    drawn most often.

    Parameters
    ----------
    settings : CacheSettings
    modality : str
    encoder : Encoder
        In eval mode.
    reader : Reader
        Of the items' content.
    work : Work
    device : torch.device
        Where the encoder is.
    """

    def __init__(
        self,
        settings: CacheSettings,
        modality: str,
        encoder: Encoder,
        reader,
        work: Work,
        device: torch.device,
    ):
        self.settings = settings
        self.modality = modality
        self.encoder = encoder
        self.reader = reader
        self.work = work
        self.device = device

    def build(self, folder: Path, meta: CacheMeta, in_memory: int | None) -> CachedRows | None:
        """The rows of all items, or of as many as there is room for.

        Parameters
        ----------
        folder : Path
            What a cache of all items is called.
        in_memory : int | None
            See :func:`~recbole_microlens.activation_cache.plan.memory_limit`.

        Raises
        ------
        Overflow, OSError
            In all processes.
        """
        is_there = distributed.broadcast_object(CacheMeta.read(growing_path(folder)) == meta)
        if self.settings.shard is not None:
            return self._build_part(folder, meta, self.settings.shard, is_there)
        if is_there:  # It is added to, whatever room there is: nothing is built twice.
            return self._grow(folder, meta, in_memory)
        unfinished = bytes_on_disk(partial_path(folder))
        allowed = distributed.main_process_does(lambda: self._room(folder, unfinished, in_memory))
        if meta.size <= allowed.size:
            return self._build_all(folder, meta)
        if allowed.size < meta.row_bytes:
            getLogger().warning(
                f"activation cache: {in_words(meta.size)} are needed in {folder}, {allowed.reason}; "
                "continuing without it, so every step passes its items through the trunk. "
                f"{allowed.remedy}."
            )
            return None
        return self._grow(folder, meta, in_memory)

    def _room(self, folder: Path, there: int, in_memory: int | None) -> Room:
        return room(folder, there, self.settings.max_bytes, in_memory)

    def _build_all(self, folder: Path, meta: CacheMeta) -> CachedRows | None:
        while not distributed.broadcast_object(open_cache(folder, meta.parts) is not None):
            with ExitStack() as held:
                is_mine = distributed.main_process_does(lambda: self._is_held(folder, meta, held))
                if not is_mine:
                    continue
                remaining = distributed.main_process_does(lambda: self._remaining(folder, meta))
                if remaining is None:
                    return None
                self._fill(lambda: PartialCache(folder, meta, self.settings.range_items), remaining)
        return open_cache(folder, meta.parts)

    def _is_held(self, folder: Path, meta: CacheMeta, held: ExitStack) -> bool:
        """Whether nobody else builds the cache, in parts or as a whole, until ``held`` is left."""
        if not held.enter_context(sole_builder(folder)) or open_cache(folder, meta.parts) is not None:
            return False
        PartialCache(folder, meta, self.settings.range_items).close()  # begins it, where nobody has
        return held.enter_context(without_parts(folder))

    def _build_part(self, folder: Path, meta: CacheMeta, shard: Shard, some: bool) -> CachedRows | None:
        """The rows of all items, if no other part is lacking once this one is built."""
        whole = SharedCache(folder, meta, self.settings.range_items)
        self._require_room(folder, meta, some)
        while open_cache(folder, meta.parts) is None:
            try:
                with whole.joined(shard) as cache:
                    if cache is None:
                        continue
                    self._fill_part(cache, whole.remaining(shard), shard)
            except Overflow:
                whole.discard()
                raise
            lacking = whole.finish(shard.count)
            if lacking:
                getLogger().info(
                    f"activation cache: {whole.folder}: part {shard} is finished. Of {shard.count} parts "
                    f"these are not: {listed(lacking)}"
                )
                return None
        return open_cache(folder, meta.parts)

    def _require_room(self, folder: Path, meta: CacheMeta, some: bool) -> None:
        if some:
            raise MicroLensError(
                f"--shard: {growing_path(folder)} has some of the items already, and one process adds to it. "
                f"Leave out --shard, or remove it with `cache prune --name {growing_path(folder).name}`."
            )
        allowed = self._room(folder, bytes_on_disk(partial_path(folder)), None)
        if meta.size > allowed.size:
            raise MicroLensError(
                f"--shard: a cache in parts is of all items. {in_words(meta.size)} are needed in {folder}, "
                f"{allowed.reason}. {allowed.remedy}."
            )

    def _fill_part(self, cache: PartialCache, remaining: list[range], shard: Shard) -> None:
        items = sum(map(len, remaining))
        getLogger().info(f"activation cache: building part {shard} in {cache.folder}: {items} items to go")
        if remaining:
            self._write(cache, remaining)
        if overflow_path(cache.final).exists():  # in another part
            raise Overflow(cache.meta.formats[0].dtype)

    def _remaining(self, folder: Path, meta: CacheMeta) -> list[range] | None:
        """The ranges of items that are still to build, or ``None`` where the disk has no space for them."""
        partial = PartialCache(folder, meta, self.settings.range_items)
        remaining = partial.remaining()
        items = sum(map(len, remaining))
        lacking = lacking_space(folder, items * meta.row_bytes)
        partial.close()
        if lacking:
            getLogger().warning(f"activation cache: {lacking}; continuing without it")
            return None
        getLogger().info(
            f"activation cache: building {in_words(meta.size)} in {folder}: {items} of {meta.n_items - 1} "
            "items to go"
        )
        return remaining

    def _grow(self, folder: Path, meta: CacheMeta, in_memory: int | None) -> CachedRows | None:
        """What there is of a growing cache, after the items that there is room for were added."""
        while True:
            with ExitStack() as held:
                is_mine = distributed.main_process_does(lambda: held.enter_context(self._sole(folder, meta)))
                if not is_mine:
                    continue
                parts = distributed.main_process_does(lambda: self._parts(folder, meta, in_memory))
                try:
                    if parts:
                        self._fill(lambda: GrowingCache(growing_path(folder), meta), parts)
                except OSError as error:
                    getLogger().warning(
                        f"activation cache: {growing_path(folder)} cannot be written ({error}); continuing "
                        "with what it has. Free disk space, lower `activation_cache_max_gb`, or set "
                        "`activation_cache` to another folder, or off."
                    )
            found = distributed.broadcast_object(open_growing(folder, meta.parts) is not None)
            return open_growing(folder, meta.parts) if found else None

    @contextmanager
    def _sole(self, folder: Path, meta: CacheMeta) -> Iterator[bool]:
        """Hold the growing cache; what an unfinished one of all items has goes into it."""
        if partial_path(folder).exists():
            with locked_folder(partial_path(folder)) as is_mine:
                with held_file(partial_path(folder) / DONE, alone=True) as is_idle:
                    is_adopted = is_mine and is_idle and growing.adopt_unfinished(folder, meta)
                if is_adopted:
                    getLogger().info(f"activation cache: {partial_path(folder)} is used as far as it goes")
        with sole(growing_path(folder)) as is_mine:
            yield is_mine

    def _parts(self, folder: Path, meta: CacheMeta, in_memory: int | None) -> list[Part]:
        """What is added, in parts of one size."""
        cache = growing_path(folder)
        slots = growing.held_slots(cache, meta) if CacheMeta.read(cache) == meta else None
        held = np.zeros(meta.n_items, bool) if slots is None else slots >= 0
        allowed = self._room(folder, int(held.sum()) * meta.row_bytes, in_memory)
        draws = self.work.draws_of(meta.n_items)
        added = most_drawn(draws, held, allowed.size // meta.row_bytes - int(held.sum()))
        if not self.settings.always:
            added = added[self.work.passes_twice(draws)[added]]
        if not len(added):
            return []
        with_added = held.copy()
        with_added[added] = True
        size, total = (int(n) * meta.row_bytes for n in (len(added), with_added.sum()))
        why = "" if with_added[1:].all() else f", but {allowed.reason}"
        getLogger().info(
            f"activation cache: all {meta.n_items - 1} items need {in_words(meta.size)}{why}. Building "
            f"{in_words(size)} in {cache}: the {len(added)} items that are drawn most often"
            f"{' of those not there yet' if held.any() else ''}. Its {in_words(total)} will serve "
            f"{share_served(draws, with_added):.1%} of the draws in training"
        )
        writer = GrowingCache(cache, meta)
        writer.close()
        return writer.parts_of(added, self.settings.range_items)

    def _fill(self, opened: Callable[[], Any], tasks: list) -> None:
        """Write this process's ranges or parts; when all have theirs, the cache is finished.

        Raises
        ------
        Overflow, OSError
            Raised in all processes if it occurs in one of them.
        """
        error: Overflow | OSError | None = None
        cache: Any = None
        try:
            cache = opened()
            self._write(cache, distributed.my_share(tasks))
        except (Overflow, OSError) as found:
            error = found
        finally:
            if cache is not None:
                cache.close()
        errors = [found for found in distributed.all_gather_object(error) if found is not None]
        if any(isinstance(found, Overflow) for found in errors):
            distributed.main_process_does(cache.discard)
        elif not errors:
            distributed.main_process_does(cache.finish)
        if errors:
            raise errors[0]

    @torch.inference_mode()
    def _write(self, cache: PartialCache | GrowingCache, tasks: list) -> None:
        loader: DataLoader = DataLoader(
            _Contents(self.reader, tasks),
            batch_size=None,
            num_workers=min(self.settings.workers, len(tasks)),
            worker_init_fn=EndWithParent(),
            pin_memory=self.device.type == "cuda",
        )
        label = f"Activation cache of {self.modality}"
        contents = tqdm(loader, ncols=100, desc=label, disable=not self.settings.progress)
        pace = Pace(len(tasks))
        for task, content in zip(tasks, contents, strict=True):
            cache.write(task, constant_part(self.encoder, content.to(self.device, non_blocking=True)))
            pace.one_more_range()


class _Contents:
    """The content of ranges or parts of items, for a loader without automatic batches."""

    def __init__(self, reader, tasks: list):
        self.reader = reader
        self.tasks = tasks

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, number: int):
        if number >= len(self.tasks):
            raise IndexError(number)
        task = self.tasks[number]
        item_ids = task.item_ids if isinstance(task, Part) else np.arange(task.start, task.stop)
        content = self.reader.read(torch.from_numpy(item_ids))
        hand_over([content])
        return content


def bytes_on_disk(folder: Path) -> int:
    """What the files of a folder take; of a file with holes less than it is long."""
    if not folder.is_dir():
        return 0
    stats = [path.stat() for path in folder.iterdir() if path.is_file()]
    return sum(getattr(found, "st_blocks", -(-found.st_size // 512)) * 512 for found in stats)
