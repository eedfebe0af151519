"""Build the store of a dataset from videos, ready frames, covers or sound, on one machine or on many."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import shards
from recbole_microlens.media.part import BARS, Items, Part, build_part
from recbole_microlens.media.report import BuildReport, combined, join_reports
from recbole_microlens.media.shards import MOST_SHARDS, Shard
from recbole_microlens.media.sources import Source, find_audio, find_covers, find_frames, frame_of
from recbole_microlens.media.spread import SPREADS
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.store_meta import StoreMeta, wrong_values
from recbole_microlens.media.workers import available_cores

ITEMS_OF_A_TASK = 300

logger = logging.getLogger(__name__)

Engine = Callable[[list[Part], bool], list[BuildReport]]
"""Builds all shards of a store, on whatever machines there are; shows a bar if it is told to."""


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
    approximate: bool = False,
    spread: str = "middle",
    shard: Shard | None = None,
    engine: Engine | None = None,
    parts: int | None = None,
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
        See ``spread.select_indices``; frames are size x size pixels, JPEG quality 1 to 100.
    workers
        Processes; by default one per available core.
    overwrite
        Start from nothing, whatever is there.
    new_items
        Take along what the folder has of items that are none of ``item_ids``: they have no interactions yet,
        and can be recommended as new.
    approximate
        Frames that begin at the nearest key frame, several times as fast; see ``timeline.locate_frames``.
    spread
        ``middle``, or ``uniform``: frames of the whole video, at the centres of equal parts; see
        ``spread.spread_evenly``. Then ``interval`` stays 1, and ``approximate`` False.
    shard
        Build only this part of the store; see ``shards``. When all are there, they are read as the store.
    engine, parts
        Who builds the store, in so many shards, in the place of processes of this machine; by default one
        for each :data:`ITEMS_OF_A_TASK` items.

    Raises ``MicroLensError`` for a wrong folder or option, where another build of this store is running, and
    where no item at all gave frames. A single item that fails only goes to the report.
    """
    parameters = StoreMeta(
        "video", num_frames, size, interval, quality, "", approximate=approximate, spread=spread
    )
    whole = _whole(find_frames, source, item_ids, Path(out_path), parameters, overwrite, new_items)
    return _build(whole, workers, progress, shard, engine, parts)


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
    shard: Shard | None = None,
    engine: Engine | None = None,
    parts: int | None = None,
) -> BuildReport:
    """Build the cover store of a dataset from a folder of ``<item>.jpg`` (.jpeg, .png, .webp).

    As ``build_frames``, with one frame per item; the report is ``covers_report.csv``.
    """
    parameters = StoreMeta("image", 1, size, 1, quality, "")
    whole = _whole(find_covers, source, item_ids, Path(out_path), parameters, overwrite, new_items)
    return _build(whole, workers, progress, shard, engine, parts)


def build_audio(
    source: str | Path,
    item_ids: Iterable[str],
    out_path: str | Path,
    sample_rate: int = 16_000,
    seconds: float = 10.0,
    windows: int = 1,
    codec: str = "flac",
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    new_items: bool = False,
    shard: Shard | None = None,
    engine: Engine | None = None,
    parts: int | None = None,
) -> BuildReport:
    """Build the sound store of a dataset from a folder of ``<item>.mp3`` (.wav, .m4a, .flac, .ogg) or videos.

    As ``build_frames``; the report is ``audio_report.csv``, which also names silent tracks and videos without
    one.

    Parameters
    ----------
    sample_rate
        Samples a second, of one channel.
    seconds, windows
        Length of a window, and how many of a track: see ``sound.starts_of``.
    codec
        ``flac``, or ``int16``: larger, and read without decoding.
    """
    parameters = StoreMeta(
        "audio", sample_rate=sample_rate, seconds=float(seconds), windows=windows, codec=codec
    )
    whole = _whole(find_audio, source, item_ids, Path(out_path), parameters, overwrite, new_items)
    return _build(whole, workers, progress, shard, engine, parts)


def _whole(
    find, folder, item_ids, out_path: Path, parameters: StoreMeta, overwrite: bool, new_items: bool
) -> Part:
    """What is to be built, all in one part."""
    _check_options(parameters)
    item_ids = list(dict.fromkeys(str(item) for item in item_ids))
    source = find(folder)
    _check_names(source, item_ids)
    items = Items(item_ids, _new_items(source, item_ids) if new_items else [])
    parameters = dataclasses.replace(parameters, source=str(source))
    return Part(source, items, out_path, parameters, overwrite=overwrite)


def _build(
    whole: Part,
    workers: int | None,
    progress: bool,
    shard: Shard | None,
    engine: Engine | None,
    parts: int | None,
) -> BuildReport:
    if workers is not None and workers < 1:
        raise MicroLensError(f"--workers {workers}: choose 1 or more")
    path, workers = whole.path, workers or available_cores()
    if shard is None and engine is None:
        _require_no_shards(path)
        return build_part(whole, workers, BARS[progress])
    if shard is not None:
        _require_shards_of(path, shard.count)
        report = build_part(whole.shard_of(shard, shards.shard_path(path, shard)), workers, BARS[progress])
        _finish_shards(whole, shard.count)
        return report
    assert engine is not None
    parts = parts or shards.one_count(path) or min(-(-len(whole.items) // ITEMS_OF_A_TASK), MOST_SHARDS)
    _require_shards_of(path, parts)
    each = [Shard(number, parts) for number in range(1, parts + 1)]
    started = time.perf_counter()
    reports = engine([whole.shard_of(one, shards.shard_path(path, one)) for one in each], progress)
    _finish_shards(whole, parts)
    return combined(reports, shards.folder_of(path), path, whole.parameters, time.perf_counter() - started)


def _require_no_shards(path: Path) -> None:
    count = shards.one_count(path)
    if count:
        raise MicroLensError(
            f"{shards.folder_of(path)}: holds this store in {count} shards. Continue with --shard I/{count}, "
            "or make one file of them with `recbole-microlens merge`, or remove the folder."
        )


def _require_shards_of(path: Path, count: int) -> None:
    if path.exists():
        raise MicroLensError(
            f"{path}: this store is there in one file. Leave out --shard (or --engine) to add what it "
            "lacks, or remove it."
        )
    there = shards.one_count(path)
    if there not in (0, count):
        raise MicroLensError(
            f"{shards.folder_of(path)}: holds this store in {there} shards, not in {count}. Continue with "
            f"{there}, or remove the folder."
        )


def _finish_shards(whole: Part, count: int) -> None:
    """If all shards are there, read them for the identity of the store, and join their reports."""
    path = whole.path
    try:
        files = shards.files_of(path)
    except MicroLensError as unfinished:
        logger.info("%s", unfinished)
        return
    store = MediaStore(path)
    join_reports(files, path, whole.parameters.modality)
    if not len(store):
        raise MicroLensError(
            f"nothing could be read for any item in {whole.source}: all {count} shards in "
            f"{shards.folder_of(path)} are empty. See the reports beside them, and remove that folder."
        )
    logger.info("%s: all %d shards are finished, %d items", shards.folder_of(path), count, len(store))


def _new_items(source: Source, item_ids: list[str]) -> list[str]:
    known = set(item_ids)
    new = [item for item in (*source.files, *source.ambiguous) if item not in known]
    if source.kind != "covers":
        return new
    # Ready frames may lie below the same folder: <item>-<k>.jpg is the cover of no new item.
    return [item for item in new if frame_of(item) not in known]


def _check_options(parameters: StoreMeta) -> None:
    for name, wrong in wrong_values(parameters):
        if wrong:
            raise MicroLensError(f"--{name.replace('_', '-')} {parameters.form[name]}: {wrong}")
    if parameters.spread not in SPREADS:
        raise MicroLensError(f"--spread {parameters.spread}: choose one of {', '.join(SPREADS)}")
    if parameters.spread != "middle" and (parameters.interval != 1 or parameters.approximate):
        needless = "--approximate" if parameters.approximate else f"--interval {parameters.interval}"
        raise MicroLensError(
            f"{needless} is for frames around the middle; those of --spread {parameters.spread} lie where "
            "the length of each video puts them. Leave it out, or choose --spread middle."
        )


def _check_names(source: Source, item_ids: list[str]) -> None:
    if not item_ids:
        raise MicroLensError("no items to build a store for: the dataset is empty")
    if not any(item in source.files or item in source.ambiguous for item in item_ids):
        found = Path(next(iter((source.files or source.ambiguous).values()))[0]).name
        raise MicroLensError(
            f"{source.folder}: no file belongs to any of the {len(item_ids)} items. "
            f"A file is named after its item, e.g. {item_ids[0]}{Path(found).suffix}; found e.g. {found}."
        )
