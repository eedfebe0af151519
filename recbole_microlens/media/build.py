"""Build a media store from the videos, ready frames or covers of many items: parallel and resumable."""

import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.decode import MediaError
from recbole_microlens.media.environments import MAX_KEY_BYTES
from recbole_microlens.media.partial import (
    RESERVED_KEYS,
    FailedItem,
    PartialStore,
    parameters_of,
    partial_path,
)
from recbole_microlens.media.report import BuildReport, report_path, write_report
from recbole_microlens.media.sources import Source, find_covers, find_frames, frame_of, read_item
from recbole_microlens.media.store import LIMITS, MediaStore, StoreMeta, encode_value
from recbole_microlens.media.workers import Failure, available_cores, run_in_processes

logger = logging.getLogger(__name__)


def build_frames(
    source: str | Path,
    item_ids: Iterable[str],
    out_path: str | Path,
    num_frames: int = 5,
    interval: int = 1,
    size: int = 224,
    quality: int = 90,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    new_items: bool = False,
) -> BuildReport:
    """Build the frame store of a dataset from a folder of videos, or of ready frames ``<item>-<k>.jpg``.

    A build that was stopped or killed continues where it was when it is called with the same parameters. A
    finished store of the same parameters is only given the items it lacks, those that failed before included;
    one of other parameters is replaced once the new one is complete. Ready frames come as they were
    extracted: ``interval`` is only noted for them.

    Parameters
    ----------
    source
        The folder; ``<item>.mp4`` or another suffix of ``sources.VIDEO_SUFFIXES``, in sub-folders too.
    item_ids
        The original ids of the dataset's items.
    out_path
        ``video.lmdb`` in the dataset's folder; ``frames_report.csv`` is written beside it.
    num_frames, interval, size, quality
        See ``decode.select_indices``; frames are size x size pixels, JPEG quality 1 to 100.
    workers
        Processes; by default one per available core.
    overwrite
        Start from nothing, whatever is there.
    new_items
        Take along what the folder has of items that are none of ``item_ids``: they have no interactions yet,
        and can be recommended as new.

    Raises ``MicroLensError`` for a wrong folder or option, where another build of this store is running, and
    where no item at all gave frames. A single item that fails only goes to the report.
    """
    parameters = StoreMeta("video", num_frames, size, interval, quality, "")
    return _build(
        find_frames, source, item_ids, Path(out_path), parameters, workers, progress, overwrite, new_items
    )


def build_covers(
    source: str | Path,
    item_ids: Iterable[str],
    out_path: str | Path,
    size: int = 224,
    quality: int = 90,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    new_items: bool = False,
) -> BuildReport:
    """Build the cover store of a dataset from a folder of ``<item>.jpg`` (.jpeg, .png, .webp).

    As ``build_frames``, with one frame per item; the report is ``covers_report.csv``.
    """
    parameters = StoreMeta("image", 1, size, 1, quality, "")
    return _build(
        find_covers, source, item_ids, Path(out_path), parameters, workers, progress, overwrite, new_items
    )


def _build(
    find, folder, item_ids, out_path: Path, parameters: StoreMeta, workers, progress, overwrite, new_items
) -> BuildReport:
    _check_options(parameters, workers)
    item_ids = list(dict.fromkeys(str(item) for item in item_ids))
    source = find(folder)
    _check_names(source, item_ids)
    parameters = dataclasses.replace(parameters, source=str(source))
    started = time.perf_counter()
    wanted = _Wanted(item_ids, _new_items(source, item_ids) if new_items else [])
    stored, built, failed = _bring_up_to_date(
        source, wanted, out_path, parameters, workers, progress, overwrite
    )
    seconds = time.perf_counter() - started
    of_dataset = set(item_ids)
    return BuildReport(
        store=out_path,
        report=report_path(out_path, parameters.modality),
        stored=len(stored),
        built=built,
        failed=[(item.item_id, item.reason) for item in failed if item.item_id in of_dataset],
        bytes=out_path.stat().st_size,
        seconds=seconds,
        frames_per_second=built * parameters.num_frames / seconds,
        without_interactions=len(stored - of_dataset),
        failed_without_interactions=[
            (item.item_id, item.reason) for item in failed if item.item_id not in of_dataset
        ],
    )


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """The dataset's items, and those that only the folder has."""

    of_dataset: list[str]
    new: list[str]

    def __iter__(self):
        return itertools.chain(self.of_dataset, self.new)

    def __len__(self) -> int:
        return len(self.of_dataset) + len(self.new)


def _new_items(source: Source, item_ids: list[str]) -> list[str]:
    known = set(item_ids)
    new = [item for item in (*source.files, *source.ambiguous) if item not in known]
    if source.kind != "covers":
        return new
    # Ready frames may lie below the same folder: <item>-<k>.jpg is the cover of no new item.
    return [item for item in new if frame_of(item) not in known]


def _bring_up_to_date(
    source: Source, item_ids: _Wanted, out_path: Path, parameters: StoreMeta, workers, progress, overwrite
) -> tuple[set[str], int, list[FailedItem]]:
    """Return the items that the store holds, how many of them are new to it, and the failed ones."""
    resumable = not overwrite and parameters_of(partial_path(out_path)) == parameters
    finished = None if overwrite else _finished_store(out_path, parameters)
    if finished is not None and not resumable:
        lacking = [item for item in item_ids if item not in finished]
        failed = [failure for item in lacking if (failure := _fails_untried(source, item))]
        if len(failed) == len(lacking):
            logger.info("%s is up to date: %d items", out_path, len(finished))
            write_report(report_path(out_path, parameters.modality), failed)
            return set(finished), 0, failed
    _warn_of_restart(out_path, parameters, resumable, finished, overwrite)
    out_path.parent.mkdir(parents=True, exist_ok=True)
    copy_from = out_path if finished is not None else None
    partial = PartialStore(out_path, parameters, copy_from, fresh=overwrite)
    before = len(partial.item_ids)
    try:
        failed = _fill(partial, source, item_ids, parameters, workers or available_cores(), progress)
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


def _fill(
    partial: PartialStore,
    source: Source,
    item_ids: _Wanted,
    parameters: StoreMeta,
    workers: int,
    progress: bool,
) -> list[FailedItem]:
    """Try every item that the partial knows nothing of; returns the failed ones, and writes the report."""
    to_do = [item for item in item_ids if item not in partial.item_ids and item not in partial.failures]
    with tqdm(
        total=len(item_ids),
        initial=len(item_ids) - len(to_do),
        unit="item",
        disable=None if progress else True,
        smoothing=0.05,
    ) as bar:
        for item, result in _results(source, to_do, parameters, workers):
            if isinstance(result, FailedItem):
                partial.fail(result)
            else:
                partial.put(item, result)
            bar.update()
    failed = [partial.failures[item] for item in item_ids if item in partial.failures]
    report = report_path(partial.final_path, parameters.modality)
    write_report(report, failed)
    if not partial.item_ids.intersection(item_ids.of_dataset):
        partial.discard()
        raise MicroLensError(
            f"nothing could be read for any of the {len(item_ids.of_dataset)} items in {source}. First: item "
            f"{failed[0].item_id}: {failed[0].reason}. All reasons are in {report}."
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
        frames = read_item(kind, task[1], parameters.num_frames, parameters.interval, parameters.size)
    except MediaError as error:
        return Failure(str(error))
    return encode_value(frames, parameters.quality)


def _finished_store(out_path: Path, parameters: StoreMeta) -> MediaStore | None:
    return MediaStore(out_path) if parameters_of(out_path) == parameters else None


def _warn_of_restart(out_path: Path, parameters: StoreMeta, resumable, finished, overwrite) -> None:
    """Log once why existing work is not used."""
    if overwrite or resumable or finished is not None:
        return
    for path in (partial_path(out_path), out_path):
        if not path.exists():
            continue
        old = parameters_of(path)
        changes = "it cannot be read" if old is None else _differences(old, parameters)
        logger.warning("%s is not used, the store is built again: %s", path, changes)
        return


def _differences(old: StoreMeta, new: StoreMeta) -> str:
    changed = [name for name in vars(new) if getattr(old, name) != getattr(new, name)]
    return ", ".join(f"{name} was {getattr(old, name)!r}, now {getattr(new, name)!r}" for name in changed)


def _check_options(parameters: StoreMeta, workers: int | None) -> None:
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(parameters, name) <= high:
            raise MicroLensError(
                f"--{name.replace('_', '-')} {getattr(parameters, name)}: choose a value from {low} to {high}"
            )
    if workers is not None and workers < 1:
        raise MicroLensError(f"--workers {workers}: choose 1 or more")


def _check_names(source: Source, item_ids: list[str]) -> None:
    if not item_ids:
        raise MicroLensError("no items to build a store for: the dataset is empty")
    if not any(item in source.files or item in source.ambiguous for item in item_ids):
        found = Path(next(iter((source.files or source.ambiguous).values()))[0]).name
        raise MicroLensError(
            f"{source.folder}: no file belongs to any of the {len(item_ids)} items. "
            f"A file is named after its item, e.g. {item_ids[0]}{Path(found).suffix}; found e.g. {found}."
        )


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
