"""Which file of a release folder is which, found by the names that releases use."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from recbole_microlens.errors import MicroLensError

PAIRS_PATTERNS = (
    *(f"microlens*_pairs.{kind}" for kind in ("csv", "parquet", "csv.gz", "csv.zst", "tsv")),
    "item_seq.parquet",
)
FILE_PATTERNS = {
    "titles": ("*_titles.csv", "*_title_en.csv", "*_title.csv", "*_title*.csv", "*_items.tsv", "titles.csv"),
    "likes_and_views": ("*likes_and_views.txt", "*likes_and_views*"),
    "tags": ("tags_to_summary.csv", "*tags_to_summary*.csv", "*_tags*.csv", "tags.csv"),
}
FOLDER_PATTERNS = {
    "covers": ("*_covers", "covers", "*_cover", "cover"),
    "videos": ("*_videos", "videos", "*_video", "video"),
    "frames": ("*_frames", "frames", "*frames*"),
    "audios": ("*_audios", "audios", "*_audio", "audio"),
}


@dataclass(frozen=True)
class Release:
    """The files and folders of one release; None where the folder has no such thing.

    ``pairs`` is None only if :func:`find_release` was called with ``require_pairs=False``.
    """

    folder: Path
    pairs: Path | None
    titles: Path | None
    likes_and_views: Path | None
    tags: Path | None
    covers: Path | None
    videos: Path | None
    frames: Path | None
    audios: Path | None


@dataclass(frozen=True)
class _Entry:
    path: Path
    depth: int


def find_release(folder: Path | str, dataset: str | None = None, require_pairs: bool = True) -> Release:
    """Find the files of a release in ``folder`` and one level below it, whatever the case of their names.

    Instead of a folder the pairs file itself may be given, of any name: an app's log. The other files are
    then looked for beside it, not below.

    Of several releases in one folder, the one named like ``dataset`` (``microlens-100k``) is taken. Of the
    pairs of one release the CSV is preferred, because the TSV has no timestamps. A file that carries the name
    of another release than the pairs (``MicroLens-50k_titles.csv`` beside ``MicroLens-100k_pairs.csv``) is
    left out. Of several folders with videos, covers or frames none is chosen: the release folder itself is
    taken, to be gone through.

    Parameters
    ----------
    folder : Path | str
        The release folder, or a log.
    dataset : str, optional
        The name of the dataset, or None.
    require_pairs : bool, default True
        Raise if there is no pairs file. The media store can be built without one.

    Raises
    ------
    MicroLensError
        No such folder or file, no pairs file, or several files between which the names do not decide.
    """
    given, folder = Path(folder), Path(folder)
    if given.is_file():
        folder = given.parent
    if not folder.is_dir() or not given.exists():
        raise MicroLensError(
            f"there is no file or folder {given}. Give the folder of a MicroLens release, or a log (a CSV "
            "file)."
        )
    entries = _entries(folder)
    if given.is_file():  # in a folder of anything, whose sub-folders may hold other releases
        entries = [entry for entry in entries if entry.depth == 0 and entry.path != given]
    pairs = given if given.is_file() else _find_pairs(folder, entries, dataset)
    if pairs is None and require_pairs:
        raise MicroLensError(
            f"{folder} has no interactions: looked there and one level below for "
            f"{' or '.join(PAIRS_PATTERNS)} (upper or lower case), found {_listing(entries)}. Put the pairs "
            "file of the release there, or give a log of any name in the folder's place: convert LOG.csv."
        )
    release = _release_name(pairs) if pairs else None
    release = release or _dataset_release(entries, dataset)
    own = [entry for entry in entries if not _is_foreign(entry.path, release)]
    files = {
        kind: _best([entry for entry in own if entry.path.is_file()], patterns, kind)
        for kind, patterns in FILE_PATTERNS.items()
    }
    folders = {
        kind: _best([entry for entry in own if entry.path.is_dir()], patterns, kind, of_tied=folder)
        for kind, patterns in FOLDER_PATTERNS.items()
    }
    return Release(folder=folder, pairs=pairs, **files, **folders)


def _entries(folder: Path) -> list[_Entry]:
    top = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    # A media folder holds one file per item: nothing to find there, and slow to list on a network disk.
    inner = [path for path in top if path.is_dir() and not _is_media(path)]
    below = [path for child in inner for path in _readable(child) if not path.name.startswith(".")]
    return [_Entry(path, 0) for path in top] + [_Entry(path, 1) for path in below]


def _readable(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it may not be looked into: a log may lie beside other people's."""
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        return []


def _is_media(path: Path) -> bool:
    return any(_rank(path, patterns) is not None for patterns in FOLDER_PATTERNS.values())


def _rank(path: Path, patterns: Sequence[str]) -> int | None:
    name = path.name.lower()
    return next((rank for rank, pattern in enumerate(patterns) if fnmatchcase(name, pattern)), None)


def _release_name(pairs: Path) -> str:
    """The name before ``_pairs``; "" where a log has another name."""
    return pairs.name.lower().rpartition("_pairs")[0]


def _dataset_release(entries: Sequence[_Entry], dataset: str | None) -> str | None:
    """Return the dataset's name if a file of the folder carries it, so that files of others are left out."""
    name = (dataset or "").lower()
    carried = name and any(entry.path.name.lower().startswith(f"{name}_") for entry in entries)
    return name if carried else None


def _is_foreign(path: Path, release: str | None) -> bool:
    name = path.name.lower()
    return release is not None and name.startswith("microlens") and not name.startswith(f"{release}_")


def _find_pairs(folder: Path, entries: Sequence[_Entry], dataset: str | None) -> Path | None:
    found = [e for e in entries if e.path.is_file() and _rank(e.path, PAIRS_PATTERNS) is not None]
    names = sorted({_release_name(entry.path) for entry in found})
    wanted = (dataset or "").lower()
    if len(names) > 1 and wanted not in names:
        listed = ", ".join(str(entry.path.relative_to(folder)) for entry in found)
        raise MicroLensError(
            f"{folder} has the pairs of {len(names)} releases ({listed}) and none is named like the dataset "
            f"{dataset!r}. Use one of {', '.join(names)} as the dataset, or keep one release in the folder."
        )
    if len(names) > 1:
        found = [entry for entry in found if _release_name(entry.path) == wanted]
    return _best(found, PAIRS_PATTERNS, "pairs")


def _best(
    entries: Sequence[_Entry], patterns: Sequence[str], kind: str, of_tied: Path | None = None
) -> Path | None:
    """Return the entry of the first pattern that matches, nearest to the top.

    Two such are an error, unless ``of_tied`` is what is returned for them.
    """
    ranked = [
        ((rank, entry.depth), entry.path)
        for entry in entries
        if (rank := _rank(entry.path, patterns)) is not None
    ]
    if not ranked:
        return None
    first = min(order for order, _ in ranked)
    tied = [path for order, path in ranked if order == first]
    if len(tied) > 1 and of_tied is not None:
        return of_tied
    if len(tied) > 1:
        raise MicroLensError(
            f"{len(tied)} candidates for the {kind}: {', '.join(map(str, tied))}. "
            "Keep one of them in the release folder."
        )
    return tied[0]


def _listing(entries: Sequence[_Entry], most: int = 20) -> str:
    names = [entry.path.name for entry in entries if entry.depth == 0]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) if names else "an empty folder"
