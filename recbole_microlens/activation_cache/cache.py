"""The activation cache: what the frozen part of an encoder gives for each item, computed once for all runs.

A frozen trunk's output for an item is a constant. It is kept on disk under a fingerprint of everything that
it depends on, and read from there, or from the device's memory, in place of the item's media.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_microlens import distributed
from recbole_microlens.activation_cache import used
from recbole_microlens.activation_cache.build import Overflow, overflow_path
from recbole_microlens.activation_cache.builder import CacheBuilder
from recbole_microlens.activation_cache.fingerprint import cache_parts, differences, digest
from recbole_microlens.activation_cache.growing import open_growing
from recbole_microlens.activation_cache.memory import in_words
from recbole_microlens.activation_cache.partial_reader import PartlyCachedReader
from recbole_microlens.activation_cache.plan import (
    Work,
    fits,
    memory_limit,
    probe,
    reason_against,
    share_served,
)
from recbole_microlens.activation_cache.row_format import DTYPES
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.activation_cache.store import CachedRows, CacheMeta, open_cache
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.constant_part import has_constant_part
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.media.shards import Shard


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

    def build(self, shard: Shard | None) -> dict[str, Path | None]:
        """Build the caches without using them, whatever time that takes or saves.

        Parameters
        ----------
        shard : Shard | None
            Only this part of each; who finishes the last one makes the whole of them.

        Returns
        -------
        dict[str, Path | None]
            By modality, the folder of the cache; ``None`` where parts of it are lacking.

        Raises
        ------
        MicroLensError
            There is nothing to cache, or a cache cannot be built.
        """
        self.settings = replace(self.settings, always=True, shard=shard)
        modalities = self._cacheable()
        if not modalities:
            raise MicroLensError(
                "There is nothing to cache: `activation_cache` is off, or no encoder of this model has a "
                "part that stays as it is. Set `finetune` to frozen or top."
            )
        return {name: self._built(name, shard) for name in sorted(modalities)}

    def _built(self, modality: str, shard: Shard | None) -> Path | None:
        rows = self._find_or_build(modality, self.layer.encoders()[modality], may_build=True)
        if rows is None and shard is None:
            raise MicroLensError(f"No cache was built for {modality}; what is said above says why.")
        if rows is None:
            return None
        used.remember(rows.folder, self.settings.used_by.get(modality, {}))
        return rows.folder

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
            overflowed = overflow_path(folder)
            if overflowed.exists():
                continue
            try:
                if distributed.broadcast_object(open_cache(folder, parts) is not None):
                    return open_cache(folder, parts)
                if may_build:
                    return self._build(modality, encoder, parts, folder)
                found = distributed.broadcast_object(open_growing(folder, parts) is not None)
                return open_growing(folder, parts) if found else None
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
            against = None if self.settings.always else reason_against(meta, self.work)
            if distributed.broadcast_object(against):
                getLogger().info(f"activation cache: none for {modality}, {encoder.spec.name}: {against}.")
                return None
            _log_why(folder, parts)
            in_memory = None if self.settings.always else memory_limit(meta, probed.seconds, device)
            try:
                return CacheBuilder(self.settings, modality, encoder, reader, self.work, device).build(
                    folder, meta, in_memory
                )
            except OSError as error:
                if self.settings.shard is not None:
                    raise
                getLogger().warning(
                    f"activation cache: {folder} cannot be written ({error}); continuing without it. What "
                    "was built is kept for the next run. Free disk space, or set `activation_cache` to "
                    "another folder, or off."
                )
                return None

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
        in_memory = fits(rows.size, device, self.settings.device_fraction)
        self.layer.read_trunk_output(modality, rows.load(device) if in_memory else None)
        if rows.is_whole:
            self.reader.read_with(modality, None if in_memory else rows)
        else:
            self.reader.read_with(modality, PartlyCachedReader(rows, self.media_readers[modality], in_memory))
        where = f"in the memory of {device}" if in_memory else "read from the disk by the loader"
        getLogger().info(f"activation cache: {modality} from {rows.folder}, {in_words(rows.size)}, {where}")
        if distributed.is_main_process():
            used.remember(rows.folder, self.settings.used_by.get(modality, {}))
            self._say_what_is_served(rows)

    def _say_what_is_served(self, rows: CachedRows) -> None:
        if rows.is_whole or rows.slots is None:
            return
        held = (rows.slots >= 0).numpy()
        share = share_served(self.work.draws_of(len(held)), held)
        getLogger().info(
            f"activation cache: {rows.n_held} of {len(held) - 1} items, which serve {share:.1%} of the draws "
            f"in training and {rows.n_held / (len(held) - 1):.1%} of those in a ranking; the rest goes "
            f"through the trunk in each step. All items would take {in_words(rows.meta.size)}"
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
