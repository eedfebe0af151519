"""The sample dataset, from a seed to atomic files and stores, through the code for any release."""

from logging import getLogger
from pathlib import Path
from tempfile import TemporaryDirectory

from recbole_microlens.media.build import build_audio, build_covers, build_frames
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.layout import find_release
from recbole_microlens.release.writer import require_folder
from recbole_microlens.sample.release import write_release

SAMPLE = "microlens-sample"
SEED = 2023
FRAME_SIZE = 64
SOUND_SECONDS = 2.0


def make_sample(
    out: Path,
    release: Path | None = None,
    seed: int = SEED,
    users: int = 600,
    items: int = 200,
    progress: bool = True,
) -> Path:
    """Write the sample release, convert it, and build its stores; return the dataset's folder.

    Parameters
    ----------
    out : Path
        The folder of all datasets.
    release : Path, optional
        Where the release folder is written and kept; by default it is removed at the end.
    seed : int, default SEED
        The same seed gives the same dataset.
    users, items : int, default 600
        How many of each.

    Raises
    ------
    MicroLensError
        ``release`` exists already, nothing can be written there, or ``out`` is a file.
    """
    require_folder(out / SAMPLE)
    with TemporaryDirectory() as scratch:
        folder = release or Path(scratch) / "release"
        write_release(folder, seed, users, items, progress)
        return _convert_all(folder, out, progress)


def _convert_all(release: Path, out: Path, progress: bool) -> Path:
    folder = out / SAMPLE
    found = find_release(release, SAMPLE)
    # The stores first: a dataset whose .inter is there is complete.
    (folder / f"{SAMPLE}.inter").unlink(missing_ok=True)
    with TemporaryDirectory() as scratch:
        convert(release, SAMPLE, scratch)
        items = read_item_ids(Path(scratch) / SAMPLE, SAMPLE)
    folder.mkdir(parents=True, exist_ok=True)
    assert found.videos is not None and found.covers is not None  # they were written above
    build_frames(
        found.videos, items, folder / "video.lmdb", size=FRAME_SIZE, progress=progress, overwrite=True
    )
    build_covers(
        found.covers, items, folder / "cover.lmdb", size=FRAME_SIZE, progress=progress, overwrite=True
    )
    build_audio(
        found.videos,
        items,
        folder / "audio.lmdb",
        seconds=SOUND_SECONDS,
        progress=progress,
        overwrite=True,
    )
    convert(release, SAMPLE, out)
    getLogger().info(f"The sample dataset is in {folder}")
    return folder
