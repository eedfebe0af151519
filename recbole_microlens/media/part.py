"""Build one file of a store, the whole or a shard: parallel and resumable."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.decode import MediaError
from recbole_microlens.media.environments import MAX_KEY_BYTES
from recbole_microlens.media.partial import FailedItem, PartialStore, parameters_of, partial_path
from recbole_microlens.media.report import BuildReport, report_path, write_report
from recbole_microlens.media.shards import Shard
from recbole_microlens.media.sound import read_windows
from recbole_microlens.media.sound_values import encode_sound
from recbole_microlens.media.sources import Source, read_item
from recbole_microlens.media.store import MediaStore, encode_value
from recbole_microlens.media.store_meta import RESERVED_KEYS, StoreMeta
from recbole_microlens.media.workers import Failure, run_in_processes

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Items:
    """The dataset's items, and those that only the folder has."""

    of_dataset: list[str]
    new: list[str]

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(self.of_dataset, self.new)

    def __len__(self) -> int:
        return len(self.of_dataset) + len(self.new)


@dataclasses.dataclass(frozen=True)
class Part:
    """Items, their files, and the store file that they are built into: what any process or machine can do.

    Attributes
    ----------
    source : Source
        The files of the items.
    items : Items
        What to build; of a shard, its share.
    path : Path
        The store file, in the end.
    parameters : StoreMeta
        Number of frames, size and so on.
    shard : Shard, optional
        Which part of the store that is; None for the whole.
    overwrite : bool
        Start from nothing, whatever is there.
    """

    source: Source
    items: Items
    path: Path
    parameters: StoreMeta
    shard: Shard | None = None
    overwrite: bool = False

    def shard_of(self, shard: Shard, path: Path) -> Part:
        """The share of one shard of this part, which is the whole."""
        items = Items(*([item for item in items if shard.holds(item)] for items in vars(self.items).values()))
        files, ambiguous = (
            {item: found[item] for item in items if item in found}
            for found in (self.source.files, self.source.ambiguous)
        )
        source = dataclasses.replace(self.source, files=files, ambiguous=ambiguous)
        return dataclasses.replace(self, source=source, items=items, path=path, shard=shard)


Bar = Callable[..., Any]
"""Makes a progress bar, a context manager with ``update()``, of ``total`` and ``initial``."""

BARS: dict[bool, Bar] = {
    shown: functools.partial(tqdm, unit="item", smoothing=0.05, disable=None if shown else True)
    for shown in (True, False)
}


def build_part(part: Part, workers: int, bar: Bar = BARS[False]) -> BuildReport:
    """Build a part of a store with so many processes.

    A build that was stopped or killed continues where it was; a finished file of the same parameters is only
    given the items it lacks, those that failed before included; one of other parameters is replaced once the
    new one is complete.

    Raises ``MicroLensError`` where another process builds the same file, and where no item at all gave
    frames, unless this is a shard.
    """
    started = time.perf_counter()
    stored, built, failed = _bring_up_to_date(part, workers, bar)
    seconds = time.perf_counter() - started
    of_dataset = set(part.items.of_dataset)
    return BuildReport(
        store=part.path,
        report=report_path(part.path, part.parameters.modality),
        stored=len(stored),
        built=built,
        failed=[(item.item_id, item.reason) for item in failed if item.item_id in of_dataset],
        bytes=part.path.stat().st_size,
        seconds=seconds,
        frames_per_second=built * part.parameters.of_an_item / seconds,
        without_interactions=len(stored - of_dataset),
        failed_without_interactions=[
            (item.item_id, item.reason) for item in failed if item.item_id not in of_dataset
        ],
    )


def _bring_up_to_date(part: Part, workers: int, bar: Bar) -> tuple[set[str], int, list[FailedItem]]:
    """Return the items that the file holds, how many of them are new to it, and the failed ones."""
    path, parameters = part.path, part.parameters
    resumable = not part.overwrite and parameters_of(partial_path(path)) == parameters
    finished = None if part.overwrite else _finished_store(path, parameters)
    if finished is not None and not resumable:
        lacking = [item for item in part.items if item not in finished]
        failed = [failure for item in lacking if (failure := _fails_untried(part.source, item))]
        if len(failed) == len(lacking):
            logger.info("%s is up to date: %d items", path, len(finished))
            write_report(report_path(path, parameters.modality), failed)
            return set(finished), 0, failed
    _warn_of_restart(part, resumable, finished)
    path.parent.mkdir(parents=True, exist_ok=True)
    copy_from = path if finished is not None else None
    partial = PartialStore(path, parameters, copy_from, fresh=part.overwrite)
    before = len(partial.item_ids)
    try:
        failed = _fill(partial, part, workers, bar)
        new = len(partial.item_ids) - before
        if new == 0 and copy_from is not None and not resumable:
            partial.discard()  # whatever it lacks failed again: the finished store stays as it is
        else:
            partial.finish()
        return partial.item_ids, new, failed
    except KeyboardInterrupt:
        logger.warning(
            "stopped with %d items done; the same command continues from there", len(partial.item_ids)
        )
        raise
    finally:
        partial.close()


def _fill(partial: PartialStore, part: Part, workers: int, make_bar: Bar) -> list[FailedItem]:
    """Try every item that the partial knows nothing of; returns the failed ones, and writes the report."""
    items = part.items
    to_do = [item for item in items if item not in partial.item_ids and item not in partial.failures]
    with make_bar(total=len(items), initial=len(items) - len(to_do)) as bar:
        for item, result in _results(part.source, to_do, part.parameters, workers):
            if isinstance(result, FailedItem):
                partial.fail(result)
            else:
                partial.put(item, result)
            bar.update()
    failed = [partial.failures[item] for item in items if item in partial.failures]
    report = report_path(partial.final_path, part.parameters.modality)
    write_report(report, failed)
    if part.shard is None and not partial.item_ids.intersection(items.of_dataset):
        partial.discard()
        raise MicroLensError(
            f"nothing could be read for any of the {len(items.of_dataset)} items in {part.source}. First: "
            f"item {failed[0].item_id}: {failed[0].reason}. All reasons are in {report}."
        )
    return failed


def _results(source: Source, item_ids: list[str], parameters: StoreMeta, workers: int):
    """Yield (item id, value or ``FailedItem``): what needs no process first, the rest as it is done."""
    tasks = []
    for item in item_ids:
        if failure := _fails_untried(source, item):
            yield item, failure
        else:
            tasks.append((item, source.files[item]))
    work = functools.partial(encode_item, source.kind, parameters)
    for (item, files), result in run_in_processes(work, tasks, workers):
        yield item, FailedItem(item, result.reason, files[0]) if isinstance(result, Failure) else result


def encode_item(kind: str, parameters: StoreMeta, task: tuple[str, list[str]]) -> bytes | Failure:
    """Read one item's files and encode them as a value of the store; runs in a worker process."""
    try:
        return (_encode_sound if kind == "audio" else _encode_frames)(kind, task[1], parameters)
    except MediaError as error:
        return Failure(str(error))


def _encode_frames(kind: str, files: list[str], parameters: StoreMeta) -> bytes:
    frames = read_item(
        kind,
        files,
        parameters.num_frames,
        parameters.interval,
        parameters.size,
        parameters.approximate,
        parameters.spread,
    )
    return encode_value(frames, parameters.quality)


def _encode_sound(kind: str, files: list[str], parameters: StoreMeta) -> bytes:
    windows = read_windows(files[0], parameters.sample_rate, parameters.seconds, parameters.windows)
    return encode_sound(windows, parameters)


def _finished_store(out_path: Path, parameters: StoreMeta) -> MediaStore | None:
    return MediaStore(out_path) if parameters_of(out_path) == parameters else None


def _warn_of_restart(part: Part, resumable: bool, finished: MediaStore | None) -> None:
    """Log once why existing work is not used."""
    if part.overwrite or resumable or finished is not None:
        return
    for path in (partial_path(part.path), part.path):
        if not path.exists():
            continue
        old = parameters_of(path)
        changes = "it cannot be read" if old is None else _differences(old, part.parameters)
        logger.warning("%s is not used, the store is built again: %s", path, changes)
        return


def _differences(old: StoreMeta, new: StoreMeta) -> str:
    changed = [name for name in vars(new) if getattr(old, name) != getattr(new, name)]
    return ", ".join(f"{name} was {getattr(old, name)!r}, now {getattr(new, name)!r}" for name in changed)


def _fails_untried(source: Source, item_id: str) -> FailedItem | None:
    """The failure of an item for which there is no file to try, or whose id cannot be a key.

    A file is found in the folder's listing, never at a path that is made of an id.
    """
    try:
        key = item_id.encode()
    except UnicodeEncodeError:
        return FailedItem(item_id, "its name is not UTF-8")
    if not key:
        return FailedItem(item_id, "its id is empty")
    if key in RESERVED_KEYS:
        return FailedItem(item_id, "its id is reserved for the store itself")
    if len(key) > MAX_KEY_BYTES:
        return FailedItem(item_id, f"its id is longer than {MAX_KEY_BYTES} bytes")
    if item_id in source.ambiguous:
        files = " and ".join(source.ambiguous[item_id])
        return FailedItem(
            item_id, "several folders at the same depth hold a file of this name: keep one", files
        )
    return None if item_id in source.files else FailedItem(item_id, "missing")
