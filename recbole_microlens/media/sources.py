"""Which files of a folder belong to which item, and how an item's frames are read from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.decode import read_frame_files, read_image, read_video_frames
from recbole_microlens.media.suffixes import AUDIO_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES

_FRAME_NAME = re.compile(r"(.+)-(\d+)")

SOUND_SUFFIXES = tuple(dict.fromkeys((*AUDIO_SUFFIXES, *VIDEO_SUFFIXES)))
_SUFFIXES_OF = {"covers": IMAGE_SUFFIXES, "audios": SOUND_SUFFIXES}

READERS = {
    "videos": lambda files, num_frames, interval, size, approximate, spread: read_video_frames(
        files[0], num_frames, interval, size, approximate, spread
    ),
    "frames": lambda files, num_frames, interval, size, approximate, spread: read_frame_files(
        files, num_frames, size, spread
    ),
    "covers": lambda files, num_frames, interval, size, approximate, spread: read_image(files[0], size),
}


@dataclass(frozen=True)
class Source:
    """A folder, what is in it (a key of ``READERS``, or ``audio``), and each item's files as they are read.

    ``ambiguous`` are items for which sub-folders have different files, and these files.
    """

    folder: Path
    kind: str
    files: dict[str, list[str]]
    ambiguous: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} in {self.folder}"


@dataclass(frozen=True, order=True)
class _Candidate:
    """A file that may be an item's: ``rank`` says how near to the top it is, then how good its suffix."""

    rank: tuple[int, int]
    folder: str
    name: str

    @property
    def path(self) -> str:
        return os.path.join(self.folder, self.name)


def read_item(
    kind: str,
    files: list[str],
    num_frames: int,
    interval: int,
    size: int,
    approximate: bool = False,
    spread: str = "middle",
) -> np.ndarray:
    """An item's frames, uint8 RGB [num_frames, size, size, 3]; raises ``MediaError`` with the reason."""
    return READERS[kind](files, num_frames, interval, size, approximate, spread)


def find_frames(folder: str | Path) -> Source:
    """Take a folder for videos ``<item>.mp4`` (or the like), else for ready frames ``<item>-<k>.jpg``.

    Sub-folders are gone through, however deep; hidden files and folders are not. Of several files for one
    item the one nearest to the top is taken, in one folder the one whose suffix comes first in
    ``VIDEO_SUFFIXES``; an item that has them in two folders equally deep is ``ambiguous``.

    Raises ``MicroLensError`` where there are neither videos nor frames.
    """
    folder = Path(folder)
    found = list(_files(folder))
    videos, ambiguous = _one_file_per_item(found, VIDEO_SUFFIXES)
    if videos or ambiguous:
        return Source(folder.resolve(), "videos", videos, ambiguous)
    frames, ambiguous = _numbered_files(found)
    if frames or ambiguous:
        return Source(folder.resolve(), "frames", frames, ambiguous)
    raise MicroLensError(
        f"{folder}: holds neither videos (<item>.mp4) nor frames (<item>-<k>.jpg), nor do its sub-folders. "
        "Give the folder in which these files lie, e.g. MicroLens-50k_videos."
    )


def find_covers(folder: str | Path) -> Source:
    """Take a folder for covers ``<item>.jpg`` (.jpeg, .png, .webp), as ``find_frames`` does for videos."""
    folder = Path(folder)
    covers, ambiguous = _one_file_per_item(_files(folder), IMAGE_SUFFIXES)
    if not covers and not ambiguous:
        raise MicroLensError(
            f"{folder}: holds no covers (<item>.jpg), nor do its sub-folders. "
            "Give the folder in which these files lie, e.g. MicroLens-50k_covers."
        )
    return Source(folder.resolve(), "covers", covers, ambiguous)


def find_audio(folder: str | Path) -> Source:
    """Take a folder for files of sound, ``<item>.mp3`` (.flac, .wav, .m4a, .ogg), and for videos with sound.

    As ``find_frames``; of several files for one item in a folder, sound comes before video.
    """
    folder = Path(folder)
    sounds, ambiguous = _one_file_per_item(_files(folder), SOUND_SUFFIXES)
    if not sounds and not ambiguous:
        raise MicroLensError(
            f"{folder}: holds neither sound (<item>.mp3, .wav, .m4a, .flac, .ogg) nor videos (<item>.mp4), "
            "nor do its sub-folders. Give the folder in which these files lie, e.g. MicroLens-50k_videos."
        )
    return Source(folder.resolve(), "audio", sounds, ambiguous)


def holds_media(folder: Path, kind: str) -> bool:
    """Whether files for a kind of source lie in a folder itself, not in its sub-folders."""
    suffixes = _SUFFIXES_OF.get(kind, VIDEO_SUFFIXES)
    try:
        with os.scandir(folder) as entries:
            return any(_suffix(entry.name) in suffixes and not entry.is_dir() for entry in entries)
    except OSError:
        return False


def _files(folder: Path) -> Iterator[tuple[int, str, str]]:
    """Depth, folder and name of every file below a folder, nearest first; a folder is entered once."""
    level, depth = [str(folder.resolve())], 0
    entered: set[tuple[int, int]] = set()
    while level:
        below: list[str] = []
        for inner in level:
            names, folders = _entries(inner, entered, is_top=depth == 0)
            yield from ((depth, inner, name) for name in names)
            below += folders
        level, depth = below, depth + 1


def _entries(folder: str, entered: set[tuple[int, int]], is_top: bool) -> tuple[list[str], list[str]]:
    """Names of the files of a folder, and its sub-folders; nothing where a link leads back into one."""
    names: list[str] = []
    folders: list[str] = []
    try:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in entered:
            return [], []
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else names).append(entry.name)
    except OSError as error:
        where = "Is it the right folder?" if is_top else "Make it readable, or move it away."
        raise MicroLensError(f"{folder}: cannot be listed ({error.strerror}). {where}") from error
    return sorted(names), [os.path.join(folder, name) for name in sorted(folders)]


def frame_of(stem: str) -> str | None:
    """The item whose frame a file of this stem would be; None if it is not the name of a frame."""
    match = _FRAME_NAME.fullmatch(stem)
    return match and match[1]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


Chosen = tuple[dict[str, list[str]], dict[str, list[str]]]


def _one_file_per_item(found, suffixes: tuple[str, ...]) -> Chosen:
    """The file of each item, and the items that have two equally near to the top."""
    order = {suffix: place for place, suffix in enumerate(suffixes)}
    chosen: dict[str, list[_Candidate]] = {}
    for depth, folder, name in found:
        item, suffix = os.path.splitext(name)
        if suffix.lower() in order:
            chosen.setdefault(item, []).append(_Candidate((depth, order[suffix.lower()]), folder, name))
    return _nearest(chosen)


def _numbered_files(found) -> Chosen:
    """The frames of each item in the order of their numbers, and the items with frames in two folders."""
    numbered: dict[str, dict[tuple[int, str], list[tuple[int, str]]]] = {}
    for depth, folder, name in found:
        stem, suffix = os.path.splitext(name)
        match = _FRAME_NAME.fullmatch(stem)
        if match and suffix.lower() in IMAGE_SUFFIXES:
            numbered.setdefault(match[1], {}).setdefault((depth, folder), []).append((int(match[2]), name))
    # A folder stands for the frames in it: its first frame takes part in the choice.
    first = {
        item: [_Candidate((depth, 0), folder, min(names)[1]) for (depth, folder), names in folders.items()]
        for item, folders in numbered.items()
    }
    chosen, ambiguous = _nearest(first)
    for item, (path,) in chosen.items():
        folder = os.path.dirname(path)
        names = next(names for (_, inner), names in numbered[item].items() if inner == folder)
        chosen[item] = [os.path.join(folder, name) for _, name in sorted(names)]
    return chosen, ambiguous


def _nearest(candidates: dict[str, list[_Candidate]]) -> Chosen:
    """Of each item the file nearest to the top; where two folders equally deep have one, all of these."""
    chosen, ambiguous = {}, {}
    for item, files in candidates.items():
        best = min(files)
        rivals = [file for file in files if file.rank[0] == best.rank[0] and file.folder != best.folder]
        if rivals:
            ambiguous[item] = [best.path, *(file.path for file in sorted(rivals))]
        else:
            chosen[item] = [best.path]
    return chosen, ambiguous
