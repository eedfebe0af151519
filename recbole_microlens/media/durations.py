"""How long the videos of a folder are, as their headers say; no frame is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.containers import open_video, video_stream
from recbole_microlens.media.sources import find_frames
from recbole_microlens.media.timeline import MediaError
from recbole_microlens.media.workers import Failure, available_cores, run_in_processes


@dataclass(frozen=True)
class Durations:
    """The videos of a folder.

    Attributes
    ----------
    seconds : dict[str, float]
        By item, in the order of the items.
    failed : dict[str, str]
        Items whose video says no duration, and why.
    """

    seconds: dict[str, float]
    failed: dict[str, str]

    def values(self) -> np.ndarray:
        """All durations in seconds, [videos] float64."""
        return np.array(list(self.seconds.values()), dtype=np.float64)


def read_durations(folder: Path, workers: int | None = None, progress: bool = True) -> Durations:
    """Read the headers of all videos of a folder, in processes that a broken file may end.

    Parameters
    ----------
    folder : Path
        Holds ``<item>.mp4`` (or the like), also in sub-folders.
    workers : int, optional
        Processes; as many as there are cores by default.

    Raises
    ------
    MicroLensError
        The folder holds no videos, or none of them says how long it is.
    """
    source = find_frames(folder)
    if source.kind != "videos":
        raise MicroLensError(f"{folder} holds frames, not videos: they do not say how long the videos are.")
    paths = {files[0]: item for item, files in source.files.items()}
    found: dict[str, float | str] = {}
    results = run_in_processes(_duration, paths, workers or available_cores())
    for path, result in tqdm(results, total=len(paths), unit="video", disable=None if progress else True):
        found[paths[path]] = result.reason if isinstance(result, Failure) else result
    seconds = {item: found[item] for item in sorted(found) if isinstance(found[item], float)}
    failed = {item: str(found[item]) for item in sorted(found) if item not in seconds}
    if not seconds:
        raise MicroLensError(
            f"{folder}: none of its {len(paths):,} videos says how long it is "
            f"({next(iter(failed.values()), 'they are ambiguous')}). Give the folder of the release's videos."
        )
    return Durations(seconds, failed)  # type: ignore[arg-type]


def _duration(path: str) -> float | str:
    """Seconds, or why there are none."""
    try:
        with open_video(Path(path)) as container:
            if container.duration:
                return container.duration / av.time_base
            stream = video_stream(container)
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
    except (MediaError, av.FFmpegError, OSError) as error:
        return str(error)
    return "its header has no duration"
