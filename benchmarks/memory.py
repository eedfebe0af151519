"""Memory and time of a training whose batches differ in size: freed memory kept, against glibc's default.

SASRecT with a trainable top layer on synthetic titles and interactions of MicroLens-100K's shape; the number
of distinct items differs from batch to batch. Each training has a process of its own; the two kinds take
turns. Prints one JSON object as its last line: memory and processor time of ours over the default's, and
memory at the end of each epoch.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from shared.interactions import ITEMS, write_interactions

ROOT = Path(__file__).parents[1]
NAME = "memory-benchmark"
# Any variable of this kind leaves the allocator as it is; this one is its default.
ENVIRONMENTS = {"default": {"MALLOC_ARENA_TEST": "8"}, "ours": {}}
IN_LOG = re.compile(r"epoch \d+ memory: ([\d.]+) GB in memory, ([\d.]+) GB at the peak")


def write_titles(folder: Path) -> None:
    rng = np.random.default_rng(1)
    lengths = np.minimum(1 + rng.geometric(1 / 40, ITEMS), 120)
    titles = ["".join(rng.choice(list("abcdefgh "), length)) for length in lengths]
    lines = [f"{item}\t{title.strip() or 'a'}" for item, title in enumerate(titles, 1)]
    text = "\n".join(["item_id:token\ttitle:token_seq", *lines]) + "\n"
    (folder / NAME / f"{NAME}.item").write_text(text)


def train(kind: str, data: Path, arguments) -> dict:
    """One training in a process of its own, with one thread."""
    settings = {
        "data_path": data,
        "checkpoint_dir": data / "runs",
        "activation_cache": data / "cache",
        "encoder": arguments.encoder,
        "encoder_weights": "none",
        "max_title_tokens": arguments.tokens,
        "train_batch_size": arguments.users,
        "epochs": arguments.epochs,
        "eval_step": 1 if arguments.validate else 0,
        "stopping_step": arguments.epochs,
        "worker": 0,
        "use_gpu": False,
    }
    command = [sys.executable, "-m", "recbole_microlens", "run", "--model=SASRecT", f"--dataset={NAME}"]
    command += [f"--{key}={value}" for key, value in settings.items()]
    own = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    own |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | ENVIRONMENTS[kind]
    with subprocess.Popen(
        command, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        log = run.stdout.read()
        _, status, used = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        sys.exit(log)
    return {
        "resident_gb": [float(resident) for resident, _ in IN_LOG.findall(log)],
        "peak_gb": round(used.ru_maxrss * 1024 / 1e9, 3),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "system_seconds": round(used.ru_stime, 1),
        "page_faults": used.ru_minflt,
    }


def ratio(results: dict, what: str) -> float:
    """Median over the rounds of ours over the default in the same round."""
    pairs = zip(results["ours"], results["default"], strict=True)
    return round(median(ours[what] / default[what] for ours, default in pairs), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="bert_bytes")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--users", type=int, default=120, help="users in a batch")
    parser.add_argument("--share", type=float, default=0.05, help="part of MicroLens-100K's users")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--validate", action="store_true", help="each epoch; else the test alone ranks")
    parser.add_argument("--short", action="store_true", help="few users, one round: measures nothing")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.share, arguments.epochs, arguments.rounds, arguments.tokens = 0.03, 3, 1, 4
    results = {kind: [] for kind in ENVIRONMENTS}
    with TemporaryDirectory() as scratch:
        data = write_interactions(Path(scratch), NAME, arguments.share)
        write_titles(data)
        for number in range(-1, arguments.rounds):
            for kind in (
                ENVIRONMENTS if number >= 0 else ["default"]
            ):  # one run more, for the activation cache
                found = train(kind, data, arguments)
                print(f"{number + 1}/{arguments.rounds} {kind}: {found}", flush=True)
                results[kind] += [found] if number >= 0 else []
    print(
        json.dumps(
            {
                "benchmark": "memory",
                "libc": " ".join(platform.libc_ver()),
                **vars(arguments),
                "ours_over_default": {
                    what: ratio(results, what)
                    for what in ("peak_gb", "cpu_seconds", "system_seconds", "page_faults")
                },
                "last_over_third_epoch": max(
                    run["resident_gb"][-1] / run["resident_gb"][2] for run in results["ours"]
                ),
                "runs": results,
            }
        )
    )


if __name__ == "__main__":
    main()
