"""How a cached training step grows with the batch, and what it owes to the numbers of items and processes.

Rows of an activation cache are gathered by id: a step must cost the same whether it holds a thousand items
or a hundred thousand. Processes share out a training of the whole encoder, a thread each, so that more of
them than cores (or GPUs) cannot help. Prints one JSON object as its last line.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from steps.measure import machine, measure, timed
from steps.problem import Problem
from steps.processes import epoch_seconds, make_data
from train_step import our_step, settings_of, trainer_of

from recbole_microlens.activation_cache.store import CachedRows, CacheMeta, RowFormat, rows_path


def step_seconds(arguments, users: int, folder: Path) -> dict:
    """Median seconds of a cached step with so many users in a batch."""
    problem = Problem.of(users, arguments.frames, arguments.size)
    settings = settings_of(arguments, folder, activation_cache=str(folder / "cache"))
    trainer = trainer_of(problem, folder / f"users-{users}", settings)
    step = partial(timed, our_step(trainer, problem.batch(with_media=False)), trainer.device)
    results = measure({"cached": step}, arguments.rounds)
    seconds = median(results["cached"]["seconds"])
    return {
        "users": users,
        "distinct_items": problem.distinct,
        "seconds": round(seconds, 4),
        "items_per_s": round(problem.distinct / seconds, 1),
        "peak_memory_bytes": results["cached"]["peak_memory_bytes"],
    }


def gather_seconds(n_items: int, values: int, gathered: int, rounds: int, folder: Path, device) -> dict:
    """Median seconds to gather rows of ``values`` fp16 numbers by random ids from a cache of so many items.

    The first time, in ``first_seconds``, the system maps the pages; the file is sparse, so no disk is timed.
    """
    meta = CacheMeta({}, n_items, (RowFormat((values,), "float16"),))
    folder.mkdir()
    with rows_path(folder, 0).open("wb") as file:
        file.truncate(meta.size)
    rows = CachedRows(folder, meta).load(device)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, n_items, (gathered,), generator=generator).to(device)
    seconds = []
    for _ in range(rounds + 1):
        start = perf_counter()
        rows.read(ids)[0].float().sum().item()
        seconds.append(perf_counter() - start)
    return {
        "items": n_items,
        "cache_bytes": meta.size,
        "first_seconds": round(seconds[0], 5),
        "seconds": round(median(seconds[1:]), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="x3d_xs")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--hidden-size", type=int, default=512)
    parser.add_argument("--users", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--items", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--values", type=int, default=20_000, help="numbers in a row of the gathered cache")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cache-dtype", default="fp16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--short", action="store_true", help="64 x 64 pixels, small batches, few items")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.size, arguments.users, arguments.rounds = 64, [2, 4], 3
        arguments.items = [1_000, 10_000]
    device = torch.device(arguments.device)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        by_batch = [step_seconds(arguments, users, folder) for users in arguments.users]
        by_items = [
            gather_seconds(items, arguments.values, 500, arguments.rounds, folder / str(items), device)
            for items in arguments.items
        ]
        make_data(folder)
        by_processes = [epoch_seconds(n, 1 if arguments.short else 3, folder) for n in arguments.processes]
    one, most = by_processes[0]["epoch_seconds"], by_processes[-1]["epoch_seconds"]
    result = {"benchmark": "scaling", "machine": machine(device), **vars(arguments)}
    found = {"by_batch": by_batch, "by_items": by_items, "by_processes": by_processes}
    print(json.dumps(result | found | {"speedup_by_processes": round(one / most, 2)}))


if __name__ == "__main__":
    main()
