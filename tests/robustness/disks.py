"""Commands on disks that fail at any place: code 2, no half output, and again as if nothing had been.

A small tmpfs is a real disk that fills up, by bytes or by files, and may be remounted larger, which is what a
user does who frees space.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np

from .cases import require, require_clean, whole_outputs
from .seeds import DATASET, FEW, World, quick
from .server import Outcome


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes
    ----------
    words : (world, disk) -> its arguments; all that it writes is below the disk.
    outcome : disk -> what must be equal after an unbroken run and one that was interrupted and run again.
    prepare : (world, disk) -> puts there what must lie beside the output.
    codes : how it may end on a full disk: 0 where it can do without what it could not write.
    """

    words: Callable[[World, Path], list]
    outcome: Callable[[Path], object]
    prepare: Callable[[World, Path], object] = lambda world, disk: None
    codes: tuple[int, ...] = (0, 2)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(disk: Path) -> dict[str, str]:
    """Digests of a converted dataset's files, whatever the temporary ones are called."""
    found = (path for path in disk.rglob("*") if path.is_file() and path.suffix != ".json")
    return {str(path.relative_to(disk)): _digest(path) for path in found if not _is_passing(path)}


def _is_passing(path: Path) -> bool:
    return path.name.startswith((".stdout", ".stderr")) or path.name.endswith((".lmdb-lock", "_report.csv"))


def _values(disk: Path) -> dict[str, bytes]:
    (store,) = disk.rglob("*.lmdb")
    with (
        lmdb.open(str(store), subdir=False, readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        return {key.decode(): value for key, value in transaction.cursor() if not key.startswith(b"__meta")}


def _result(disk: Path) -> dict:
    """The test result of the last run; those before it were interrupted."""
    paths = sorted(disk.rglob("result.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(paths[-1].read_text())["test_result"]


def _features(disk: Path) -> tuple:
    (path,) = disk.rglob("*.npy")
    ids = json.loads(path.with_suffix(".json").read_text())["item_ids"]
    return np.load(path).tobytes(), ids


def _few(world: World, disk: Path) -> None:
    (disk / FEW).mkdir()
    for path in (world.data / FEW).glob(f"{FEW}.i*"):
        (disk / FEW / path.name).write_bytes(path.read_bytes())


def _release(disk: Path) -> dict[str, str]:
    """Digests of a release's files, without what a download leaves for its next call."""
    return {name: digest for name, digest in _files(disk).items() if "/." not in f"/{name}"}


_SIZE = ("--size", "32", "--workers", "1")
COMMANDS: dict[str, Command] = {
    "download": Command(
        lambda world, disk: [
            *("download", "few", "--manifest", world.seeds / "mirror/manifest.yaml", "--accept-licence"),
            *("--from", world.seeds / "mirror", "--out", disk / "release"),
        ],
        _release,
        codes=(2,),
    ),
    "filter": Command(
        lambda world, disk: [
            *("filter", world.seeds / FEW, "--out", disk / "release", "--max-cover-single-colour", "0.9"),
            *("--min-user-clicks", "2", "--media", "symlink", "--workers", "1"),
        ],
        _release,
        codes=(2,),
    ),
    "convert": Command(
        lambda world, disk: ["convert", world.seeds / "release", "--dataset", "d", "--data-path", disk],
        _files,
        codes=(2,),
    ),
    "convert by files": Command(
        lambda world, disk: [
            *("convert", world.seeds / "release", "--dataset", "d", "--data-path", disk),
            *("--memory", "330MiB", "--store", "--atomic"),
        ],
        _files,
        codes=(2,),
    ),
    "frames": Command(
        lambda world, disk: ["frames", world.seeds / FEW, "--dataset", FEW, "--data-path", disk, *_SIZE],
        _values,
        _few,
        codes=(2,),
    ),
    "covers": Command(
        lambda world, disk: ["covers", world.seeds / FEW, "--dataset", FEW, "--data-path", disk, *_SIZE],
        _values,
        _few,
        codes=(2,),
    ),
    "run": Command(lambda world, disk: quick("SASRecID", world.data, disk, epochs=2), _result, codes=(2,)),
    "stock": Command(lambda world, disk: quick("BPR", world.data, disk), _result, codes=(2,)),
    "cache": Command(
        lambda world, disk: quick(
            "SASRecV", world.data, disk, activation_cache=disk / "cache", activation_cache_dtype="fp32"
        ),
        _result,
    ),
    "extract": Command(
        lambda world, disk: [
            *("extract", "--dataset", DATASET, "--encoder", "two_convolutions", "--encoder-weights", "none"),
            *("--frame-size", "32", "--num-frames", "2", "--workers", "0", "--data-path", world.data),
            *("--out", disk / "features.npy"),
        ],
        _features,
        codes=(2,),
    ),
}


def unbroken(name: str, world: World) -> object:
    """What a command gives on a good disk, computed once."""
    key = f"disk {name}"
    if key not in world.results:
        disk = world.scratch / f"good-{name}"
        disk.mkdir()
        COMMANDS[name].prepare(world, disk)
        outcome = world.run(world.scratch, *COMMANDS[name].words(world, disk))
        require(outcome.code == 0, "on a good disk", outcome)
        world.results[key] = COMMANDS[name].outcome(disk)
    return world.results[key]


def broken_then_again(
    name: str, world: World, disk: Path, mend: Callable[[], object], **how
) -> tuple[Outcome, bool]:
    """Run a command where it fails, mend the disk, give it again; the first outcome, and whether it failed.

    Raises
    ------
    Wrong
        A traceback, another exit code, half an output, or another outcome than the unbroken one.
    """
    command = COMMANDS[name]
    words = command.words(world, disk)
    with whole_outputs(disk):
        first = world.run(world.scratch, *words, **how)
    require_clean(first, (0, *command.codes))
    mend()
    if first.code != 0:
        again = world.run(world.scratch, *words, log="-again")
        require(again.code == 0, "run again on a good disk", again)
    same = command.outcome(disk) == unbroken(name, world)
    require(same, f"another outcome than that of the unbroken run (first exit code {first.code})", first)
    return first, first.code != 0


def operations(name: str, world: World, disk: Path) -> int:
    """How often a command does something to the disk that :mod:`robustness.faults` can fail."""
    count = world.scratch / f"count-{name}.json"
    COMMANDS[name].prepare(world, disk)
    faults = {"below": str(disk), "at": 0, "count": str(count)}
    outcome = world.run(world.scratch, *COMMANDS[name].words(world, disk), faults=faults)
    require(outcome.code == 0, "while its writes were counted", outcome)
    return json.loads(count.read_text())


def can_mount() -> bool:
    """Whether this process may mount a tmpfs."""
    return (
        os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    )


@contextmanager
def small_disk(folder: Path, kilobytes: int, files: int) -> Iterator[Callable[[], None]]:
    """A tmpfs of so many kilobytes and files in a folder; gives a function that makes it large."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={kilobytes}k,nr_inodes={files}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)

    def mend() -> None:
        large = "remount,rw,size=1g,nr_inodes=100000"
        subprocess.run(["mount", "-o", large, str(folder)], check=True)

    try:
        yield mend
    finally:
        with suppress(subprocess.CalledProcessError):
            subprocess.run(["umount", "-l", str(folder)], check=True)
