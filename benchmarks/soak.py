"""A long training of a tiny model with validations and checkpoints: do memory, open files and threads stay?

The training is the real command in a process of its own, which is looked at from outside. Prints one JSON
object as its last line; the exit code is 1 where something grew.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil

NAME = "soak"
USERS, ITEMS, LENGTH, BATCH = 1_200, 60, 8, 6
# After these parts of the run all is warm, and compared with its end.
_WARM, _END = (0.2, 0.4), (0.8, 1.0)
_MOST_GROWTH_MB = 16


def write_data(folder: Path) -> Path:
    rng = random.Random(0)
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(1, USERS + 1):
        lines += [
            f"{user}\t{item + 1}\t{place}" for place, item in enumerate(rng.sample(range(ITEMS), LENGTH))
        ]
    path = folder / NAME / f"{NAME}.inter"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(lines) + "\n")
    return folder


def command(data: Path, runs: Path, model: str, epochs: int, worker: int) -> list[str]:
    settings = {
        "model": model,
        "dataset": NAME,
        "data_path": data,
        "checkpoint_dir": runs,
        "epochs": epochs,
        "stopping_step": epochs,
        "train_batch_size": BATCH,
        "worker": worker,
        "use_gpu": False,
        "show_progress": False,
        "hidden_size": 8,
        "inner_size": 16,
        "n_layers": 1,
        "n_heads": 1,
        "learning_rate": 1e-4,
    }
    words = [f"--{key}={value}" for key, value in settings.items()]
    return [sys.executable, "-m", "recbole_microlens", "run", *words]


def look(process: psutil.Process, runs: Path) -> dict | None:
    """What the process holds now, its workers counted; ``None`` where it has just ended."""
    try:
        with process.oneshot():
            sizes = [path.stat().st_size for path in runs.rglob("*") if path.is_file()]
            return {
                "rss_mb": process.memory_info().rss / 1e6,
                "files": process.num_fds(),
                "threads": process.num_threads(),
                "children": len(process.children()),
                "disk_mb": sum(sizes) / 1e6,
                "disk_files": len(sizes),
            }
    except (psutil.Error, FileNotFoundError):
        return None


def summary(samples: list[dict]) -> dict:
    """Of each number: the median while warm and at the end, and the most."""

    def part(share: tuple[float, float]) -> list[dict]:
        return samples[int(share[0] * len(samples)) : max(int(share[1] * len(samples)), 1)] or samples

    return {
        key: {
            "warm": round(median(sample[key] for sample in part(_WARM)), 2),
            "end": round(median(sample[key] for sample in part(_END)), 2),
            "most": round(max(sample[key] for sample in samples), 2),
        }
        for key in samples[0]
    }


def grown(found: dict) -> list[str]:
    """What did not stay: memory beyond some pages of the allocator's, and any file, thread or process."""
    wrong = [key for key in ("files", "threads", "children") if found[key]["end"] > found[key]["warm"]]
    if found["rss_mb"]["end"] > found["rss_mb"]["warm"] + _MOST_GROWTH_MB:
        wrong.append("rss_mb")
    if found["disk_files"]["end"] > found["disk_files"]["warm"]:
        wrong.append("disk_files")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--model", default="SASRecID")
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--short", action="store_true", help="1,000 steps: shows that it runs")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.steps = 1_000
    steps_of_an_epoch = USERS // BATCH
    epochs = max(arguments.steps // steps_of_an_epoch, 2)
    samples: list[dict] = []
    with TemporaryDirectory(prefix="soak-") as scratch:
        data, runs = write_data(Path(scratch) / "data"), Path(scratch) / "runs"
        started = time.perf_counter()
        words = command(data, runs, arguments.model, epochs, arguments.worker)
        with (Path(scratch) / "said").open("w+") as said:
            process = subprocess.Popen(words, stdout=said, stderr=said)
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                is_training = any(runs.rglob("last.pth"))
                if is_training and (sample := look(watched, runs)):
                    samples.append(sample)
                time.sleep(0.5)
            said.seek(0)
            if process.returncode:
                sys.exit(said.read()[-3000:])
        seconds = time.perf_counter() - started
        (result,) = (json.loads(path.read_text()) for path in runs.rglob("result.json"))
    done = len(result["epoch_times_s"])
    found = summary(samples)
    print(
        json.dumps(
            {
                "benchmark": "soak",
                **vars(arguments),
                "steps": done * steps_of_an_epoch,
                "epochs": done,
                "seconds": round(seconds),
                "samples": len(samples),
                "grown": grown(found),
                **found,
            }
        )
    )
    sys.exit(bool(grown(found)))


if __name__ == "__main__":
    main()
