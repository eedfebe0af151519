"""Write the sample dataset: a small made-up release folder in the published layout, from a seed."""

import csv
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import naming, writing
from recbole_microlens.release.writer import require_folder
from recbole_microlens.sample.text import choose_category, count_likes_and_views, write_title
from recbole_microlens.sample.videos import check_codec, write_cover, write_video
from recbole_microlens.sample.world import SampleItem, plan_interactions, plan_items

SAMPLE_NAME = "MicroLens-sample"
FEWEST_ITEMS = 16

__all__ = ["SAMPLE_NAME", "SampleItem", "plan_items", "write_release"]


def write_release(
    folder: Path, seed: int = 2023, users: int = 600, items: int = 200, progress: bool = True
) -> Path:
    """Write the release folder of the sample dataset and return its path.

    Pairs, titles, likes and views, tags, covers and H.264 videos with sound, in the layout of a MicroLens
    release. The same arguments give the same bytes. Users watch by what is visible: colour and shape, less by
    direction of motion (which needs more than one frame); the sound tells colour and shape too. Popularity is
    long-tailed. One item in four is new, and occurs only among the last two interactions of a user. The
    folder appears under its name when it is complete.

    Raises :class:`MicroLensError` where ``folder`` holds something already, a count is too small, or PyAV
    cannot write H.264.
    """
    folder = Path(folder)
    require_folder(folder.parent, "--release")
    _check(folder, seed, users, items)
    folder.parent.mkdir(parents=True, exist_ok=True)
    plan = plan_items(seed, items)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        release = Path(beside) / folder.name
        release.mkdir()
        write_tables(release, plan, users, seed)
        _write_media(release, plan, seed, progress)
        os.replace(release, folder)
    return folder


def _check(folder: Path, seed: int, users: int, items: int) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise MicroLensError(
            f"{folder} exists already. Remove it, or name another folder for the sample release."
        )
    if seed < 0:
        raise MicroLensError(f"seed is {seed}. Give 0 or a positive number.")
    if users < 1:
        raise MicroLensError(f"users is {users}. The sample needs at least 1.")
    if items < FEWEST_ITEMS:
        raise MicroLensError(f"items is {items}. The sample needs at least {FEWEST_ITEMS}.")
    check_codec()


def write_tables(release: Path, plan: list[SampleItem], users: int, seed: int) -> None:
    """Write the files of a release that are no media: pairs, titles, tags, likes and views.

    Parameters
    ----------
    release : Path
        An empty folder.
    plan : list of SampleItem
        Of :func:`~recbole_microlens.sample.world.plan_items`.
    """
    interactions = plan_interactions(plan, users, seed)
    pairs = [("user", "item", "timestamp"), *((row.user, row.item, row.timestamp) for row in interactions)]
    titles = [("item", "title"), *((item.item, write_title(item, seed)) for item in plan)]
    tags = [(item.item, choose_category(item, seed)) for item in plan]
    likes_and_views = [(item.item, *count_likes_and_views(item, seed)) for item in plan]
    _write_rows(release / f"{SAMPLE_NAME}_pairs.csv", pairs)
    _write_rows(release / f"{SAMPLE_NAME}_titles.csv", titles)
    _write_rows(release / "tags_to_summary.csv", tags)
    _write_rows(release / f"{SAMPLE_NAME}_likes_and_views.txt", likes_and_views, delimiter="\t")


def _write_rows(path: Path, rows: Iterable[tuple], delimiter: str = ",") -> None:
    with writing(path) as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)


def _write_media(release: Path, plan: list[SampleItem], seed: int, progress: bool) -> None:
    """Write covers and videos on threads: NumPy and x264 both work outside Python's lock."""
    covers, videos = release / f"{SAMPLE_NAME}_covers", release / f"{SAMPLE_NAME}_videos"
    covers.mkdir()
    videos.mkdir()

    def write(item: SampleItem) -> None:
        cover, video = covers / f"{item.item}.jpg", videos / f"{item.item}.mp4"
        with naming(cover):
            write_cover(cover, item, seed)
        with naming(video):
            write_video(video, item, seed)

    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
    try:
        done = pool.map(write, plan)
        for _ in tqdm(
            done, total=len(plan), desc="sample videos", unit="video", disable=None if progress else True
        ):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
