"""Which files of a folder belong to which item, and how an item's frames are read from them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.decode import read_frame_files, read_image, read_video_frames

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".3gp", ".wmv", ".mpg", ".mpeg",
)  # fmt: skip
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_FRAME_NAME = re.compile(r"(.+)-(\d+)")

READERS = {
    "videos": lambda files, num_frames, interval, size: read_video_frames(
        files[0], num_frames, interval, size
    ),
    "frames": lambda files, num_frames, interval, size: read_frame_files(files, num_frames, size),
    "covers": lambda files, num_frames, interval, size: read_image(files[0], size),
}


@dataclass(frozen=True)
class Source:
    """A folder, what is in it (a key of ``READERS``), and each item's files in the order they are read."""

    folder: Path
    kind: str
    files: dict[str, list[str]]

    def __str__(self) -> str:
        return f"{self.kind} in {self.folder}"


def read_item(kind: str, files: list[str], num_frames: int, interval: int, size: int) -> np.ndarray:
    """An item's frames, uint8 RGB [num_frames, size, size, 3]; raises ``MediaError`` with the reason."""
    return READERS[kind](files, num_frames, interval, size)


def find_frames(folder: str | Path) -> Source:
    """Take a folder for videos ``<item>.mp4`` (or the like), else for ready frames ``<item>-<k>.jpg``.

    Raises ``MicroLensError`` where it holds neither.
    """
    folder = Path(folder)
    names = _file_names(folder)
    videos = _one_file_per_item(folder, names, VIDEO_SUFFIXES)
    if videos:
        return Source(folder.resolve(), "videos", videos)
    frames = _numbered_files(folder, names)
    if frames:
        return Source(folder.resolve(), "frames", frames)
    raise MicroLensError(
        f"{folder}: holds neither videos (<item>.mp4) nor frames (<item>-<k>.jpg). "
        "Give the folder in which these files lie, e.g. MicroLens-50k_videos."
    )


def find_covers(folder: str | Path) -> Source:
    """Take a folder for covers ``<item>.jpg`` (.jpeg, .png, .webp); raises ``MicroLensError`` if none."""
    folder = Path(folder)
    covers = _one_file_per_item(folder, _file_names(folder), IMAGE_SUFFIXES)
    if not covers:
        raise MicroLensError(
            f"{folder}: holds no covers (<item>.jpg). "
            "Give the folder in which these files lie, e.g. MicroLens-50k_covers."
        )
    return Source(folder.resolve(), "covers", covers)


def _file_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries)
    except OSError as error:
        raise MicroLensError(
            f"{folder}: cannot be listed ({error.strerror}). Is it the right folder?"
        ) from error


def _one_file_per_item(folder: Path, names: list[str], suffixes: tuple[str, ...]) -> dict[str, list[str]]:
    """Of several files for one item the one whose suffix comes first in ``suffixes``."""
    chosen: dict[str, tuple[int, str]] = {}
    for name in names:
        item, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes:
            candidate = (suffixes.index(suffix.lower()), name)
            chosen[item] = min(candidate, chosen.get(item, candidate))
    return {item: [str(folder.resolve() / name)] for item, (_, name) in chosen.items()}


def _numbered_files(folder: Path, names: list[str]) -> dict[str, list[str]]:
    numbered: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        stem, suffix = os.path.splitext(name)
        match = _FRAME_NAME.fullmatch(stem)
        if match and suffix.lower() in IMAGE_SUFFIXES:
            numbered.setdefault(match[1], []).append((int(match[2]), name))
    return {
        item: [str(folder.resolve() / name) for _, name in sorted(files)] for item, files in numbered.items()
    }
