"""The activation cache: what the frozen part of an encoder gives for each item, computed once for all runs.

A frozen trunk's output for an item is a constant. It is kept on disk under a fingerprint of everything that
it depends on, and read from there, or from the device's memory, in place of the item's media.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from recbole_microlens import distributed
from recbole_microlens.activation_cache.build import Overflow, Pace, PartialCache, sole_builder
from recbole_microlens.activation_cache.fingerprint import cache_parts, differences, digest
from recbole_microlens.activation_cache.memory import in_words
from recbole_microlens.activation_cache.plan import Work, fits, lacking_space, probe, reason_against
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.activation_cache.store import DTYPES, CachedRows, CacheMeta, open_cache
from recbole_microlens.compat.loader_workers import EndWithParent, hand_over
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.items.constant_part import constant_part, has_constant_part
from recbole_microlens.items.content import ContentItemEmbedding


class ActivationCaches:
    """Puts a cache in the place of the media of each tower that has a frozen part.

    Rows that fit on the device are gathered there by the layer; others are read by the loader's workers.

    Parameters
    ----------
    settings : CacheSettings
        See :class:`CacheSettings`.
    layer : ContentItemEmbedding
        Its towers' encoders are what is cached.
    reader : Reader
        Its ``readers``, by modality, read the items' content; those of cached modalities are replaced.
    tokens : np.ndarray
        Original item id of each internal id, [n_items].
    work : Work
        What the run would do without a cache.

    Attributes
    ----------
    media_readers : dict[str, Reader]
        By modality, what reads the items' own content, whether or not a cache stands in for it.
    """

    def __init__(
        self, settings: CacheSettings, layer: ContentItemEmbedding, reader, tokens: np.ndarray, work: Work
    ):
        self.settings = settings
        self.layer = layer
        self.reader = reader
        self.tokens = tokens
        self.work = work
        self.media_readers = dict(reader.readers)
        self._in_use: dict[str, CachedRows] = {}
        self._unchecked = set(self._cacheable())
        for modality in self._unchecked:
            self._watch(modality)

    def ensure(self, may_build: bool) -> None:
        """Use a cache wherever there is one for the weights as they are now; build what is worth building.

        Parameters
        ----------
        may_build : bool
            Without it, caches that are there are used, and none is made.
        """
        for modality in sorted(self._unchecked):
            encoder = self.layer.encoders()[modality]
            rows = self._find_or_build(modality, encoder, may_build)
            self._use(modality, rows)
            if rows is not None or may_build:
                self._unchecked.discard(modality)

    def _cacheable(self) -> list[str]:
        if self.settings.folder is None:
            return []
        encoders = self.layer.encoders()
        return [name for name in encoders if name in self.media_readers and has_constant_part(encoders[name])]

    def _watch(self, modality: str) -> None:
        """Look again after the encoder's weights were loaded."""

        def loaded(*_) -> None:
            self._unchecked.add(modality)

        self.layer.encoders()[modality].register_load_state_dict_post_hook(loaded)

    def _find_or_build(self, modality: str, encoder: Any, may_build: bool) -> CachedRows | None:
        assert self.settings.folder is not None  # or nothing would be cacheable
        reader = self.media_readers[modality]
        for dtype in dict.fromkeys((self.settings.dtype, "fp32")):
            parts = cache_parts(encoder, reader, self.tokens, dtype)
            name = Path(encoder.spec.name).name  # a hub id or a folder ends in it
            folder = self.settings.folder / f"{modality}-{name}-{digest(parts)}"
            overflowed = folder.with_name(folder.name + ".overflow")
            if overflowed.exists():
                continue
            try:
                if distributed.broadcast_object(open_cache(folder, parts) is not None):
                    return open_cache(folder, parts)
                return self._build(modality, encoder, parts, folder) if may_build else None
            except Overflow as overflow:
                overflowed.touch()
                getLogger().warning(
                    f"activation cache: {encoder.spec.name} gives values that {overflow} cannot hold: "
                    "building it in fp32. `activation_cache_dtype: bf16` takes half the disk space."
                )
        return None

    def _build(self, modality: str, encoder: Encoder, parts: dict, folder: Path) -> CachedRows | None:
        reader, device = self.media_readers[modality], next(self.layer.parameters()).device
        with torch.random.fork_rng(devices=[]), _in_eval_mode(encoder):
            probed = probe(encoder, reader, len(self.tokens), DTYPES[parts["dtype"]], device)
            if probed.formats is None:
                getLogger().warning(
                    f"activation cache: {encoder.spec.name} does not give one output for each item; "
                    "continuing without a cache."
                )
                return None
            meta = CacheMeta(parts, len(self.tokens), probed.formats)
            seconds = distributed.broadcast_object(probed.seconds)
            against = None if self.settings.always else reason_against(meta, seconds, self.work, device)
            against = distributed.broadcast_object(against)
            if against:
                getLogger().info(f"activation cache: none for {modality}, {encoder.spec.name}: {against}.")
                return None
            _log_why(folder, parts)
            try:
                return self._build_rows(modality, encoder, meta, folder)
            except OSError as error:
                getLogger().warning(
                    f"activation cache: {folder} cannot be written ({error}); continuing without it. What "
                    "was built is kept for the next run. Free disk space, or set `activation_cache` to "
                    "another folder, or off."
                )
                return None

    def _build_rows(
        self, modality: str, encoder: Encoder, meta: CacheMeta, folder: Path
    ) -> CachedRows | None:
        """Build the rows, each process of this run its share; wait while another run builds them."""
        while not distributed.broadcast_object(open_cache(folder, meta.parts) is not None):
            with ExitStack() as held:
                is_mine = distributed.main_process_does(
                    lambda: (
                        held.enter_context(sole_builder(folder)) and open_cache(folder, meta.parts) is None
                    )
                )
                if not is_mine:
                    continue
                remaining = distributed.main_process_does(lambda: self._plan(folder, meta))
                if remaining is None:
                    return None
                self._fill(folder, meta, distributed.my_share(remaining), modality, encoder)
        return open_cache(folder, meta.parts)

    def _plan(self, folder: Path, meta: CacheMeta) -> list[range] | None:
        """The ranges of items that are still to build, or ``None`` where the disk has no space for them."""
        partial = PartialCache(folder, meta, self.settings.range_items)
        remaining = partial.remaining()
        items = sum(map(len, remaining))
        lacking = lacking_space(folder, items * meta.row_bytes)
        if lacking:
            partial.close() if items < meta.n_items - 1 else partial.discard()
            getLogger().warning(
                f"activation cache: {lacking}; continuing without it, so every step passes its items "
                "through the trunk. Free disk space, set `activation_cache` to a folder on another disk, or "
                "use `activation_cache_dtype: fp16`."
            )
            return None
        partial.close()
        getLogger().info(
            f"activation cache: building {in_words(meta.size)} in {folder}: {items} of {meta.n_items - 1} "
            "items to go"
        )
        return remaining

    def _fill(
        self, folder: Path, meta: CacheMeta, mine: list[range], modality: str, encoder: Encoder
    ) -> None:
        """Write this process's ranges; when all have theirs, give the cache its name.

        Raises
        ------
        Overflow, OSError
            Raised in all processes if it occurs in one of them.
        """
        error: Overflow | OSError | None = None
        partial: Any = None
        try:
            partial = PartialCache(folder, meta, self.settings.range_items)
            self._write(partial, mine, modality, encoder)
        except (Overflow, OSError) as found:
            error = found
        finally:
            if partial is not None:
                partial.close()
        errors = [found for found in distributed.all_gather_object(error) if found is not None]
        if any(isinstance(found, Overflow) for found in errors):
            distributed.main_process_does(partial.discard)
        elif not errors:
            distributed.main_process_does(partial.finish)
        if errors:
            raise errors[0]

    @torch.inference_mode()
    def _write(self, partial: PartialCache, ranges: list[range], modality: str, encoder: Encoder) -> None:
        device = next(self.layer.parameters()).device
        loader: DataLoader = DataLoader(
            _Ranges(self.media_readers[modality], ranges),
            batch_size=None,
            num_workers=min(self.settings.workers, len(ranges)),
            worker_init_fn=EndWithParent(),
            pin_memory=device.type == "cuda",
        )
        label = f"Activation cache of {modality}"
        contents = tqdm(loader, ncols=100, desc=label, disable=not self.settings.progress)
        pace = Pace(len(ranges))
        for items, content in zip(ranges, contents, strict=True):
            partial.write(items, constant_part(encoder, content.to(device, non_blocking=True)))
            pace.one_more_range()

    def _use(self, modality: str, rows: CachedRows | None) -> None:
        """Let the layer or the loaders read from the cache, or from the media if there is none."""
        before = self._in_use.get(modality)
        if rows is not None and before is not None and rows.folder == before.folder:
            return
        self._in_use.pop(modality, None)
        if rows is None:
            self.layer.read_trunk_output(modality, None)
            self.reader.read_with(modality, self.media_readers[modality])
            return
        self._in_use[modality] = rows
        device = next(self.layer.parameters()).device
        in_memory = fits(rows.meta.size, device, self.settings.device_fraction)
        self.layer.read_trunk_output(modality, rows.load(device) if in_memory else None)
        self.reader.read_with(modality, None if in_memory else rows)
        where = f"in the memory of {device}" if in_memory else "read from the disk by the loader"
        getLogger().info(
            f"activation cache: {modality} from {rows.folder}, {in_words(rows.meta.size)}, {where}"
        )


@contextmanager
def _in_eval_mode(encoder: Encoder) -> Iterator[None]:
    """An encoder whose ``train()`` was never called has its frozen part in training mode too."""
    training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(training)


class _Ranges:
    """The content of ranges of items, for a loader without automatic batches."""

    def __init__(self, reader, ranges: list[range]):
        self.reader = reader
        self.ranges = ranges

    def __len__(self) -> int:
        return len(self.ranges)

    def __getitem__(self, number: int):
        if number >= len(self.ranges):
            raise IndexError(number)
        content = self.reader.read(torch.arange(self.ranges[number].start, self.ranges[number].stop))
        hand_over([content])
        return content


def _log_why(folder: Path, parts: dict) -> None:
    """Log in which part of their fingerprint the existing caches of this encoder differ."""
    prefix = folder.name.rsplit("-", 1)[0]
    metas = [CacheMeta.read(path) for path in folder.parent.glob(f"{prefix}-*") if path.suffix == ""]
    reasons = [differences(parts, meta.parts) for meta in metas if meta is not None]
    if not reasons:
        return
    nearest = min(reasons, key=len)
    what = f"the nearest differs in {', '.join(nearest)}" if nearest else "its files are damaged"
    getLogger().info(
        f"activation cache: none of the {len(reasons)} caches {prefix}-* in {folder.parent} fits: {what}. "
        "You can delete those that no run needs."
    )
