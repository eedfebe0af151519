"""Looks at every cover or video once, in processes, and keeps what was seen for the next call."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.files import writing
from recbole_microlens.filtering.pictures import FRAMES, INTERVAL, SIZE, perceptual_hash, single_colour_share
from recbole_microlens.media.sources import Source, read_item
from recbole_microlens.media.timeline import MediaError
from recbole_microlens.media.workers import Failure, available_cores, run_in_processes


@dataclass(frozen=True)
class Measure:
    """What was seen of one item.

    Attributes
    ----------
    share : float | None
        Of one colour, in the frame in which it is smallest; None where it cannot be read.
    hash : bytes
        Of all frames; empty where it was not asked for.
    reason : str
        Why it cannot be read.
    """

    share: float | None
    hash: bytes = b""
    reason: str = ""


def measure(source: Source, wants_hash: bool, log: Path, workers: int | None) -> dict[str, Measure]:
    """Look at all items of a source.

    What an interrupted call, or one with other thresholds, has seen of files that have not changed since is
    in ``log``, and they are not looked at again.

    Parameters
    ----------
    source : Source
        Covers, videos or ready frames.
    wants_hash : bool
        Whether perceptual hashes are needed, which take time.
    log : Path
        A file of JSON lines, which grows.
    workers : int, optional
        Processes; by default one per core.

    Returns
    -------
    dict[str, Measure]
        By item; without those that have files in several folders.
    """
    seen = dict(_logged(source, wants_hash, log))
    tasks = [(item, files) for item, files in source.files.items() if item not in seen]
    work = functools.partial(look_at, source.kind, wants_hash)
    with writing(log, "a") as stream:
        results = run_in_processes(work, tasks, workers or available_cores())
        bar = tqdm(
            results, total=len(tasks), desc=f"looking at {source.kind}", unit=" items", delay=2, disable=None
        )
        for (item, files), result in bar:
            one = Measure(None, reason=result.reason) if isinstance(result, Failure) else result
            seen[item] = one
            line = [item, _stamp(files), wants_hash, one.share, one.hash.hex(), one.reason]
            stream.write(json.dumps(line) + "\n")
            stream.flush()
    return seen


def look_at(kind: str, wants_hash: bool, task: tuple[str, list[str]]) -> Measure:
    """Read and measure one item; runs in a worker process."""
    try:
        frames = read_item(kind, task[1], FRAMES, INTERVAL, SIZE)
    except MediaError as error:
        return Measure(None, reason=str(error))
    share = min(single_colour_share(frame) for frame in frames)
    return Measure(share, perceptual_hash(frames) if wants_hash else b"")


def _logged(source: Source, wants_hash: bool, log: Path) -> Iterator[tuple[str, Measure]]:
    """What stands in the log of files that are as they were; and cut off what a killed call left half."""
    if not log.is_file():
        return
    content = log.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with writing(log, "r+b") as stream:
            stream.truncate(whole)
    for line in content[:whole].splitlines():
        item, stamp, has_hash, share, digits, reason = json.loads(line)
        files = source.files.get(item)
        if files and stamp == _stamp(files) and (has_hash or not wants_hash):
            yield item, Measure(share, bytes.fromhex(digits), reason)


def _stamp(files: list[str]) -> list[list[int]]:
    try:
        return [[status.st_size, status.st_mtime_ns] for status in map(os.stat, files)]
    except OSError:
        return []
