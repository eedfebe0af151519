"""From a table to recommendations at the size of MicroLens-1M: time and memory of each step; prints JSON.

1,000,000 users, 91,402 items and 9,095,620 interactions are drawn at random, and features in place of videos.
Then the commands that a user would type: convert into a sequence store, two epochs of SASRecV with
``--features`` and the test of all users, recommendations for some. Each runs in a process of its own.

    python benchmarks/whole_chain.py --users 1000000
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

USERS, ITEMS, ROWS = 1_000_000, 91_402, 9_095_620
_FIRST_MS, _SPAN_MS = 1_546_300_800_000, 5 * 365 * 86_400_000
_GROUPS = 200


def draw(folder: Path, users: int, width: int) -> tuple[Path, Path]:
    """A table of interactions and features of its items; users prefer two of the groups of items."""
    rng = np.random.default_rng(0)
    items, rows = max(ITEMS * users // USERS, 1_000), ROWS * users // USERS
    group = rng.integers(_GROUPS, size=items)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(_GROUPS + 1))
    user = np.concatenate([np.repeat(np.arange(users), 5), rng.integers(users, size=rows - 5 * users)])
    own = rng.integers(_GROUPS, size=(users, 2))[user, rng.integers(2, size=rows)]
    wanted = np.where(rng.random(rows) < 0.7, own, rng.integers(_GROUPS, size=rows))
    within = (rng.random(rows) ** 2 * (starts[wanted + 1] - starts[wanted])).astype(np.int64)
    item = order[starts[wanted] + within]
    when = _FIRST_MS + (rng.random(rows) * _SPAN_MS).astype(np.int64)
    table = folder / "MicroLens-1M_pairs.csv"
    with table.open("wb") as file:
        file.write(b"user,item,timestamp\n")
        options = csv.WriteOptions(include_header=False)
        csv.write_csv(pa.table({"u": user + 1, "i": item + 1, "t": when}), file, options)
    centres = rng.standard_normal((_GROUPS, width), dtype=np.float32)
    features = folder / "features.npy"
    np.save(features, centres[group] + 0.5 * rng.standard_normal((items, width), dtype=np.float32))
    return table, features


def step(name: str, command: list[str], folder: Path) -> dict:
    """Run a command; its time, the processor's time and the most memory of it and its processes."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    script = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
        "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    with (folder / f"{name}.log").open("w") as log:
        watched = [sys.executable, "-c", script, *command]
        done = subprocess.run(watched, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        log.write(done.stdout)
    if done.returncode:
        raise SystemExit(f"{name} failed, see {folder / name}.log: {done.stdout[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = {
        "step": name,
        "seconds": round(time.perf_counter() - begin, 1),
        "processor_seconds": round(used, 1),
        "peak_memory_bytes": int(done.stdout.split()[-1]) * 1024,
    }
    print(json.dumps(figures), file=sys.stderr)
    return figures


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=256, help="of the features")
    parser.add_argument("--embedding-size", type=int, default=64)
    parser.add_argument("--recommend-users", type=int, default=20_000)
    parser.add_argument("--memory", default="1GB", help="of the conversion")
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder = Path(scratch)
        table, features = draw(folder, arguments.users, arguments.width)
        ours = [sys.executable, "-m", "recbole_microlens"]
        convert = [*ours, "convert", str(table), "--dataset=chain", f"--memory={arguments.memory}"]
        steps = [step("convert", [*convert, "--store", "--no-atomic", "--latest=13"], folder)]
        train = [*ours, "run", "--model=SASRecV", "--dataset=chain", f"--features={features}"]
        train += [f"--epochs={arguments.epochs}", f"--embedding_size={arguments.embedding_size}"]
        train += [f"--inner_size={4 * arguments.embedding_size}"]
        train += ["--eval_users=20000", "--train_batch_size=128", "--checkpoint_dir=runs"]
        train += ["--show_progress=False", "--worker=1"]
        steps.append(step("train and test", train, folder))
        (run,) = (folder / "runs" / "chain").iterdir()
        result = json.loads((run / "result.json").read_text())
        asked_for = range(1, min(arguments.recommend_users, arguments.users) + 1)
        (folder / "users.txt").write_text("".join(f"{user}\n" for user in asked_for))
        asked = [*ours, "recommend", str(run), "--users=users.txt", "--out=recommended.csv"]
        asked += ["--on-unknown=popular"]  # users with fewer than five interactions
        steps.append(step("recommend", asked, folder))
        figures = {
            "cores": os.cpu_count(),
            "users": arguments.users,
            "items": max(ITEMS * arguments.users // USERS, 1_000),
            "interactions": ROWS * arguments.users // USERS,
            "steps": steps,
            "epoch_seconds": result["epoch_times_s"],
            "test_result": result["test_result"],
            "recommended_rows": sum(1 for _ in (folder / "recommended.csv").open()) - 1,
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
