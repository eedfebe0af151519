"""Filters a release: readable from top to bottom."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder
from recbole_microlens.filtering.items import ItemRules, measured
from recbole_microlens.filtering.pairs import PairsFile
from recbole_microlens.filtering.report import ITEMS, REPORT, USERS, FilterReport, write_dropped_items
from recbole_microlens.filtering.thresholds import Thresholds
from recbole_microlens.filtering.users import dropped_users
from recbole_microlens.filtering.written import (
    LINKS,
    Linker,
    table_name,
    write_lines,
    write_pairs,
    write_texts,
)
from recbole_microlens.media.sources import Source, find_covers, find_frames
from recbole_microlens.release.item_files import read_texts
from recbole_microlens.release.layout import Release, find_release
from recbole_microlens.release.rows import BadRows
from recbole_microlens.release.writer import require_folder


@dataclass(frozen=True)
class _Media:
    """The media of a release; None where it has none of a kind."""

    covers: Source | None
    videos: Source | None
    frames: Source | None

    def present(self) -> dict[str, Source]:
        return {kind: source for kind, source in vars(self).items() if source is not None}


def filter_release(
    release_folder: Path | str,
    out: Path,
    thresholds: Thresholds,
    links: str = "hardlink",
    columns: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    workers: int | None = None,
) -> FilterReport:
    """Write a smaller release, without the items and users that rules drop, and a report of them.

    Rules on items look at all of them, each on its own, but for near-duplicates, which are looked for among
    the items that the others leave. Then users are counted on what is left of their interactions. Pairs,
    titles, tags, likes and views are written anew under their names, media are linked. The folder appears
    when it is complete; what an interrupted call has seen of covers and videos is not looked at again.

    Parameters
    ----------
    release_folder : Path | str
        See :func:`~recbole_microlens.release.layout.find_release`.
    out : Path
        The new release, which must not be there yet.
    thresholds : Thresholds
        The rules that are on.
    links : str, default 'hardlink'
        ``hardlink`` or ``symlink``.
    columns : Mapping[str, str], optional
        Columns of a log by what they are.
    skip_bad_rows : bool, default False
        Leave out rows that cannot be read.
    workers : int, optional
        Processes that look at covers and videos; by default one per core.

    Raises
    ------
    MicroLensError
        No rule is on, ``out`` is there, the release lacks what a rule looks at, or a row cannot be read.
    """
    _check(thresholds, out, links, workers)
    release = find_release(release_folder)
    assert release.pairs is not None  # find_release has refused a folder without pairs
    beside = out.parent / f".{out.name}.partial"
    with locked_folder(beside) as is_ours:
        if not is_ours:
            raise MicroLensError(
                f"{out}: another process is filtering into it. Wait for it to end, or stop it."
            )
        pairs = PairsFile(release.pairs, columns, skip_bad_rows)
        interactions = _interactions(pairs)
        texts = _read_texts(release, interactions, skip_bad_rows)
        media = _find_media(release)
        items = _all_items(interactions, texts, media)
        rules = _apply(thresholds, items, texts.get("titles"), media, beside, workers)
        stage = beside / "release"
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir()
        users = dropped_users(pairs, rules.drops, thresholds, beside / "users", stage / USERS)
        report = _write(stage, out, release, pairs, rules, users, texts, media, links)
        os.replace(stage, out)
        shutil.rmtree(beside, ignore_errors=True)
    return report


def _check(thresholds: Thresholds, out: Path, links: str, workers: int | None) -> None:
    if not thresholds.on():
        raise MicroLensError(
            "No rule is on. Give --paper for the paper's, or some of the rules that --help lists."
        )
    if links not in LINKS:
        raise MicroLensError(f"--media {links}: give one of {', '.join(LINKS)}.")
    if workers is not None and workers < 1:
        raise MicroLensError(f"--workers {workers}: choose 1 or more.")
    require_folder(out.parent, "--out")
    if not out.name or (out.exists() and not (out.is_dir() and not any(out.iterdir()))):
        raise MicroLensError(f"--out {out} exists already. Remove it, or name another folder.")


def _interactions(pairs: PairsFile) -> dict[str, int]:
    """Interactions of each item, in the order in which the file first names them."""
    counts: Counter[str] = Counter()
    for row in pairs.rows("counting"):
        counts.update(row.items)
    if not counts:
        raise MicroLensError(f"{pairs.path} has no row that can be read.")
    return dict(counts)


def _read_texts(release: Release, items: Mapping[str, int], skip_bad_rows: bool) -> dict[str, dict[str, str]]:
    paths = {"titles": release.titles, "tags": release.tags}
    bad = BadRows(skip=skip_bad_rows)
    return {kind: read_texts(path, items, bad).values for kind, path in paths.items() if path is not None}


def _all_items(interactions: Mapping[str, int], texts: Mapping, media: _Media) -> dict[str, int]:
    """All items and their interactions: those that only a text or a file names have none."""
    named = (*texts.values(), *(source.files for source in media.present().values()))
    return dict(interactions) | {item: 0 for items in named for item in items if item not in interactions}


def _find_media(release: Release) -> _Media:
    videos = find_frames(release.videos) if release.videos else None
    frames = find_frames(release.frames) if release.frames else None
    if videos is not None and videos.kind != "videos":
        videos, frames = None, frames or videos
    return _Media(find_covers(release.covers) if release.covers else None, videos, frames)


def _apply(
    thresholds: Thresholds,
    items: Mapping[str, int],
    titles: Mapping[str, str] | None,
    media: _Media,
    beside: Path,
    workers: int | None,
) -> ItemRules:
    moving = media.videos or media.frames  # ready frames show what a video does, but not its size
    rules = ItemRules(items, thresholds)
    rules.titles(titles)
    rules.sizes("min_cover_bytes", media.covers)
    rules.sizes("min_video_bytes", media.videos)
    on_covers = ("max_cover_single_colour",)
    seen = measured(media.covers, on_covers, thresholds, beside / "covers.jsonl", workers)
    rules.colours("max_cover_single_colour", media.covers, seen)
    on_videos = ("max_video_single_colour", "duplicate_bits")
    seen = measured(moving, on_videos, thresholds, beside / "videos.jsonl", workers)
    rules.colours("max_video_single_colour", moving, seen)
    rules.duplicates(moving, seen)
    return rules


def _write(
    stage: Path, out: Path, release: Release, pairs: PairsFile, rules: ItemRules, users, texts, media, links
):
    dropped = rules.drops
    written = write_pairs(pairs, stage / table_name(pairs.path), dropped, users.names)
    if not written.written:
        raise MicroLensError(f"{release.folder}: no interaction is left. Choose other thresholds.")
    for kind, values in texts.items():
        write_texts(values, stage / table_name(getattr(release, kind)), dropped)
    if release.likes_and_views:
        write_lines(release.likes_and_views, stage / table_name(release.likes_and_views), dropped)
    linker, linked = Linker(links), {}
    for kind, source in media.present().items():
        linked[kind] = linker.link_all(source, stage / _folder_name(release, source, kind), dropped)
    thresholds = rules.thresholds.on()
    write_dropped_items(stage / ITEMS, dropped, thresholds)
    report = FilterReport(
        release=release.folder,
        out=out,
        thresholds=thresholds,
        items=len(rules.items),
        dropped_items=len(dropped),
        verdicts=rules.verdicts,
        alone=rules.alone(),
        users=users,
        pairs=written,
        media=linked,
        bad_rows=pairs.bad_rows,
    )
    report.write(stage / REPORT)
    return report


def _folder_name(release: Release, source: Source, kind: str) -> str:
    """The folder's own name; that of its kind where the media lie in the release's folder itself."""
    return kind if source.folder == release.folder.resolve() else source.folder.name
