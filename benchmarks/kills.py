"""Commands that are killed (kill -9) at random instants and started again: is it as if they were not?

Of each of convert (in memory, and by way of files), frames (a store whose commits are of 50 MB), building an
activation cache and a training with workers. A command runs in a fork of a process that has imported
everything, so that the instants fall into its work; the process alone is killed, and its workers must end by
themselves. Prints one JSON object as its last line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import lmdb
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from robustness.seeds import World, build, quick
from robustness.server import Server


@dataclass(frozen=True)
class Kind:
    """What is killed.

    Attributes
    ----------
    words : (world, folder) -> the command.
    again : the same, after a kill.
    outcome : folder -> what must be equal.
    prepare : (world, folder) -> makes what must lie there.
    """

    words: Callable[[World, Path], list]
    again: Callable[[World, Path], list]
    outcome: Callable[[Path], object]
    prepare: Callable[[World, Path], object] = lambda world, folder: None


def convert_words(world: World, folder: Path) -> list:
    return ["convert", world.seeds / "log.csv", "--dataset", "log", "--data-path", folder]


def convert_by_files_words(world: World, folder: Path) -> list:
    return [*convert_words(world, folder), "--memory", "330MiB", "--store", "--atomic"]


def frames_words(world: World, folder: Path) -> list:
    options = (
        "--size",
        str(world.results["size"]),
        "--quality",
        "100",
        "--num-frames",
        "1",
        "--workers",
        "1",
    )
    return ["frames", world.seeds / "ready", "--dataset", "many", "--data-path", folder, *options]


def cache_words(world: World, folder: Path) -> list:
    settings = {
        "encoder": "x3d_xs",
        "encode_batch_size": 2,
        "activation_cache": folder / "cache",
        "frame_size": 64,
    }
    return quick("SASRecV", world.data, folder, **settings, activation_cache_dtype="fp32")


def training_words(world: World, folder: Path) -> list:
    return quick("SASRecV", world.data, folder, epochs=4, worker=1)


def training_again(world: World, folder: Path) -> list:
    """Continue from the last checkpoint; without one start a new run."""
    lasts = sorted(folder.rglob("last.pth"))
    return ["run", f"--resume={lasts[-1].parent}"] if lasts else training_words(world, folder)


def digests(folder: Path) -> dict[str, str]:
    """Of a converted dataset; what a kill left under a temporary name is counted by :func:`leftovers`."""
    paths = (path for path in (folder / "log").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def identity(folder: Path) -> dict:
    with (
        lmdb.open(str(folder / "many/video.lmdb"), subdir=False, readonly=True, lock=False) as environment,
        environment.begin() as transaction,
    ):
        about = json.loads(transaction.get(b"__meta__"))
    return {key: about[key] for key in ("identity", "count", "complete")}


def result(folder: Path) -> dict:
    paths = sorted(folder.rglob("result.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(paths[-1].read_text())["test_result"]


def result_and_rows(folder: Path) -> tuple:
    rows = sorted(path for path in folder.rglob("*.rows") if ".partial" not in str(path))
    return result(folder), [hashlib.sha256(path.read_bytes()).hexdigest() for path in rows]


KINDS = {
    "convert": Kind(convert_words, convert_words, digests),
    "convert by files": Kind(convert_by_files_words, convert_by_files_words, digests),
    "frames": Kind(
        frames_words,
        frames_words,
        identity,
        lambda world, folder: shutil.copytree(world.seeds / "many", folder / "many"),
    ),
    "cache": Kind(cache_words, cache_words, result_and_rows),
    "training": Kind(training_words, training_again, result),
}


def leftovers(folder: Path) -> list[str]:
    """What is still there under a temporary name when all is done."""
    return sorted(path.name for path in folder.rglob("*") if ".partial" in path.name)


def make_inputs(world: World, rows: int, items: int, pixels: int) -> None:
    """A log of many rows, and ready frames of noise, which no JPEG makes small."""
    rng = np.random.default_rng(0)
    users, videos = rng.integers(1, rows // 20 + 2, rows), rng.integers(1, rows // 50 + 2, rows)
    times = 1_600_000_000_000 + rng.integers(0, 10**9, rows)
    lines = "".join(
        f"{user},{video},{time}\n" for user, video, time in zip(users, videos, times, strict=True)
    )
    (world.seeds / "log.csv").write_text("user,item,timestamp\n" + lines)
    (world.seeds / "ready").mkdir()
    (world.seeds / "many").mkdir()
    with (world.seeds / "many/many.inter").open("w") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for item in range(1, items + 1):
            noise = rng.integers(0, 256, (pixels // 4, pixels // 4, 3), dtype=np.uint8)
            Image.fromarray(noise).save(world.seeds / f"ready/{item}-1.jpg", quality=90)
            file.write(f"1\t{item}\t{item}\n")


def kill_often(kind: Kind, name: str, world: World, kills: int, minutes: float, rng: random.Random) -> dict:
    """Kill at random instants, run the command again, compare; half of the time twice before it may end."""
    end = time.monotonic() + 60 * minutes
    folder = world.scratch / f"unbroken-{name}"
    folder.mkdir(parents=True)
    kind.prepare(world, folder)
    whole = world.run(folder, *kind.words(world, folder), seconds=600)
    if whole.code != 0:
        sys.exit(f"{name}, unbroken: exit code {whole.code}\n{whole.said}")
    wanted = kind.outcome(folder)
    shutil.rmtree(folder)
    counts: Counter[str] = Counter()
    while counts["kills"] < kills and time.monotonic() < end:
        folder = world.scratch / f"{name}-{counts['kills']}"
        folder.mkdir()
        kind.prepare(world, folder)
        words = kind.words(world, folder)
        for _ in range(rng.choice((1, 2))):
            broken = world.run(folder, *words, seconds=rng.uniform(0.0, whole.seconds), alone=True)
            counts["kills"] += broken.timed_out
            counts["ended before"] += not broken.timed_out
            counts["workers left behind"] += broken.orphans
            words = kind.again(world, folder)
        again = world.run(folder, *words, seconds=600)
        counts["runs"] += 1
        fault = again.code != 0 or kind.outcome(folder) != wanted
        counts["resumed" if words != kind.words(world, folder) else "begun again"] += 1
        counts["unequal"] += fault
        left = leftovers(folder)
        counts["with leftovers"] += bool(left)
        counts.update(f"left: {name}" for name in left)
        if fault:
            print(f"{name}: exit code {again.code}, another outcome\n{again.said[-500:]}", flush=True)
        shutil.rmtree(folder)
    return dict(counts) | {"unbroken_s": round(whole.seconds, 2)}


def commit_megabytes(items: int, world: World) -> float:
    """What a transaction of the store holds at most: so many items of the mean size."""
    from recbole_microlens.media import partial

    batch = getattr(partial, "BATCH_ITEMS", 64)
    folder = world.scratch / "commit"
    KINDS["frames"].prepare(world, folder)
    world.run(folder, *frames_words(world, folder), seconds=600)
    size = (folder / "many/video.lmdb").stat().st_size
    shutil.rmtree(folder)
    return round(size / items * min(batch, items) / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each kind (default 100)")
    parser.add_argument("--only", nargs="*", choices=sorted(KINDS))
    parser.add_argument("--minutes", type=float, default=60, help="of each kind at most (default 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=200_000, help="of the log that is converted")
    parser.add_argument("--items", type=int, default=100, help="of the store")
    parser.add_argument("--size", type=int, default=1024, help="height and width of its frames")
    parser.add_argument("--short", action="store_true", help="two kills of each, small inputs")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.kills, arguments.rows, arguments.items, arguments.size = 2, 5_000, 8, 128
    started, found = time.perf_counter(), {}
    with TemporaryDirectory(prefix="kills-") as scratch, Server() as server:
        world = build(Path(scratch) / "seeds", Path(scratch) / "runs", server)
        world.results["size"] = arguments.size
        make_inputs(world, arguments.rows, arguments.items, arguments.size)
        for name in arguments.only or KINDS:
            rng = random.Random(arguments.seed)
            found[name] = kill_often(KINDS[name], name, world, arguments.kills, arguments.minutes, rng)
            print(f"{name}: {found[name]}", flush=True)
        if "frames" in found:
            found["frames"]["commit_mb"] = commit_megabytes(arguments.items, world)
    seconds = round(time.perf_counter() - started)
    print(json.dumps({"benchmark": "kills", **vars(arguments), "seconds": seconds, "kinds": found}))
    sys.exit(any(kind["unequal"] or kind["workers left behind"] for kind in found.values()))


if __name__ == "__main__":
    main()
