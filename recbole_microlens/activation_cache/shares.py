"""Parts of an activation cache, each built by a process that any scheduler starts, on shared storage.

All parts write their rows into the files of one unfinished cache, each its own ranges of items, and each says
in a record of its own, ``done-3-of-16.txt``, which of them are on the disk. Who finds every range in the
records gives the cache its name, be it a part or a run; until then nobody takes it for whole. While a part is
built its process holds ``done.txt`` together with the others, and its record alone.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from logging import getLogger
from pathlib import Path

from recbole_microlens.activation_cache.build import (
    DONE,
    PartialCache,
    begin,
    partial_path,
    ranges_of,
    recorded,
    sole,
)
from recbole_microlens.activation_cache.in_use import held
from recbole_microlens.activation_cache.store import CacheMeta
from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.partial import BeingBuilt
from recbole_microlens.media.shards import Shard


class SharedCache:
    """An unfinished cache that several parts build, each on its own.

    Parameters
    ----------
    final : Path
        The folder that it becomes.
    meta : CacheMeta
        What it says of itself.
    range_items : int
        Items of a range, the same for all parts.
    """

    def __init__(self, final: Path, meta: CacheMeta, range_items: int):
        self.final = final
        self.folder = partial_path(final)
        self.meta = meta
        self.range_items = range_items
        self.ranges = ranges_of(meta, range_items)

    @contextmanager
    def joined(self, shard: Shard) -> Iterator[PartialCache | None]:
        """Hold a part; ``None`` where the cache was finished or removed meanwhile: look again.

        Raises
        ------
        BeingBuilt
            Another process builds this part.
        MicroLensError
            There are fewer ranges than parts, or others were begun with another size of ranges.
        """
        self._begin()
        with ExitStack() as holding:
            with sole(self.folder) as is_ours:  # A run that builds the cache holds it until it is done.
                is_there = is_ours and CacheMeta.read(self.folder) == self.meta
                if is_ours and not is_there and self._is_damaged():
                    raise MicroLensError(
                        f"{self.folder}: what is there of this cache is damaged. Remove it with `cache prune "
                        f"--name {self.folder.name}`, then build this part again."
                    )
                if is_ours and not is_there:  # made by waiting for one that was finished
                    with suppress(OSError):
                        self.folder.rmdir()
                if not (is_there and holding.enter_context(self._together())):
                    yield None
                    return
            self._require_alike(shard)
            record = self._record(shard)
            record.touch()
            if not holding.enter_context(held(record, alone=True)):
                raise BeingBuilt(
                    f"{self.folder}: another process is building part {shard}. Wait for it to end, or stop "
                    "it."
                )
            recorded(self.folder, record.name)  # drops the line that a kill has cut
            cache = PartialCache(self.final, self.meta, self.range_items, record.name)
            try:
                yield cache
            finally:
                cache.close()

    def remaining(self, shard: Shard) -> list[range]:
        """The ranges of a part that no record names."""
        done = recorded(self.folder)
        return [items for items in self._share(shard) if (items.start, items.stop) not in done]

    def finish(self, count: int) -> list[str]:
        """Give the cache its name if all ranges are there and nobody builds in it.

        Parameters
        ----------
        count : int
            Number of parts.

        Returns
        -------
        list[str]
            The numbers of the parts that are not finished, and whether they are unfinished or missing.
        """
        with held(self.folder / DONE, alone=True) as is_mine:
            if is_mine:
                cache = PartialCache(self.final, self.meta, self.range_items)
                if not cache.remaining():
                    cache.finish()
                    return []
                cache.close()
        try:
            return list(self._lacking(count)) if CacheMeta.read(self.folder) == self.meta else []
        except FileNotFoundError:  # another part has finished it meanwhile
            return []

    def discard(self) -> None:
        """Remove it, unless somebody builds in it."""
        with held(self.folder / DONE, alone=True) as is_mine:
            if is_mine:
                shutil.rmtree(self.folder)

    def _together(self) -> AbstractContextManager[bool]:
        """Hold it with other parts, once a run on another machine is done with it."""

        def wait() -> None:
            getLogger().info(f"activation cache: a run is building {self.folder}; waiting for it")

        with suppress(FileNotFoundError):
            (self.folder / DONE).touch()
        return held(self.folder / DONE, alone=False, wait=wait)

    def _begin(self) -> None:
        """Have a folder with an empty cache in it at once, or find that of another part."""
        if CacheMeta.read(self.folder) == self.meta:
            return
        own = self.folder.with_name(f"{self.folder.name}.{uuid.uuid4().hex}")
        own.mkdir(parents=True)
        begin(own, self.meta)
        try:
            os.rename(own, self.folder)
        except FileExistsError:
            shutil.rmtree(own)
        except OSError:
            shutil.rmtree(own)
            if not self.folder.is_dir():
                raise

    def _is_damaged(self) -> bool:
        """Whether there are files without a description of them; an empty cache comes with one at once."""
        try:
            return any(self.folder.iterdir()) and CacheMeta.read(self.folder) != self.meta
        except FileNotFoundError:
            return False

    def _record(self, shard: Shard) -> Path:
        return self.folder / f"done-{shard.name}.txt"

    def _require_alike(self, shard: Shard) -> None:
        if len(self.ranges) < shard.count:
            raise MicroLensError(
                f"--shard {shard}: {self.meta.n_items - 1} items are only {len(self.ranges)} batches of "
                f"{self.range_items}. Choose at most {len(self.ranges)} parts, or a smaller "
                "`encode_batch_size`."
            )
        mine = {(items.start, items.stop) for items in self.ranges}
        others = recorded(self.folder) - mine
        if others:
            start, stop = min(others)
            raise MicroLensError(
                f"{self.folder}: was begun with `encode_batch_size` {stop - start}, now it is "
                f"{self.range_items}. Build all parts with one, or remove what is there with `cache prune "
                f"--name {self.folder.name}`."
            )

    def _share(self, shard: Shard) -> list[range]:
        """The ranges of a part: neighbours, so that parts share few blocks of the files."""
        first, end = (len(self.ranges) * number // shard.count for number in (shard.number - 1, shard.number))
        return self.ranges[first:end]

    def _lacking(self, count: int) -> Iterator[str]:
        for number in range(1, count + 1):
            shard = Shard(number, count)
            remaining = self.remaining(shard)
            if remaining:
                is_begun = len(remaining) < len(self._share(shard)) or self._record(shard).is_file()
                yield f"{number} ({'unfinished' if is_begun else 'missing'})"


@contextmanager
def without_parts(final: Path) -> Iterator[bool]:
    """Hold an unfinished cache against parts of it, once those that are being built have ended.

    Yields
    ------
    bool
        False where one of them has finished it: look again.
    """
    record = partial_path(final) / DONE
    with suppress(FileNotFoundError):
        record.touch()

    def wait() -> None:
        getLogger().info(f"activation cache: parts of {record.parent} are being built; waiting for them")

    with held(record, alone=True, wait=wait) as is_mine:
        yield is_mine


def listed(lacking: list[str]) -> str:
    """Parts in words, however many."""
    return ", ".join(lacking[:8]) + (f" and {len(lacking) - 8} more" if len(lacking) > 8 else "")
