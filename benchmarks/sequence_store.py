"""A sequence store of the full release's size: from nothing to the first training batch; ranking many users.

The stores are drawn at random, not converted: 34,492,051 users with their latest 13 of 1,142,528 items for
the preparation, 1,000,000 users and 91,402 items for the ranking. Each part runs in a process of its own,
whose memory is counted. Prints one JSON object as its last line.
"""

import argparse
import json
import logging
import platform
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np

FULL, LARGE = "full-size", "large-size"
SIZES = {FULL: (34_492_051, 1_142_528, 1_006_528_709), LARGE: (1_000_000, 91_402, 9_095_620)}
FEWEST, LATEST = 5, 13
_USERS_AT_ONCE = 500_000


def draw_store(data_path: Path, name: str, share: float) -> dict:
    """Draw a store: many short sequences and fewer long ones, of which the latest 13 are kept.

    Item ids stand in the order of a shuffle, and their popularity falls like 1 / (rank + 20).
    """
    from recbole_microlens.release.sequence_store import store_folder
    from recbole_microlens.release.sequence_writer import SequenceStoreWriter

    users, items, interactions = SIZES[name]
    rng, users, started = np.random.default_rng(0), round(users * share), perf_counter()
    weights = np.cumsum(1 / (np.arange(items) + 20))
    of_rank = rng.permutation(items).astype(np.int32)
    more = interactions / SIZES[name][0] - FEWEST
    with SequenceStoreWriter(store_folder(data_path / name, name)) as writer:
        for start in range(0, users, _USERS_AT_ONCE):
            number = min(_USERS_AT_ONCE, users - start)
            total = FEWEST + rng.geometric(1 / (1 + more), number) - 1
            kept = np.minimum(total, LATEST)
            ranks = np.searchsorted(weights, rng.random(int(kept.sum())) * weights[-1])
            ids = np.arange(start + 1, start + 1 + number)
            writer.append(kept, of_rank[np.minimum(ranks, items - 1)], None, ids, total - kept)
        manifest = writer.finish((str(number) for number in range(1, items + 1)), latest=LATEST)
    return {
        "users": manifest.users,
        "items": manifest.items,
        "interactions": manifest.interactions,
        "disk_gb": round(sum(file["bytes"] for file in manifest.files.values()) / 1e9, 2),
        "drawn_in_s": round(perf_counter() - started, 1),
    }


def config_of(data_path: str, name: str, **settings):
    from recbole_microlens.config import Config

    quiet = {"show_progress": False, "use_gpu": False, "worker": 0, "checkpoint_dir": data_path}
    small = {"hidden_size": 64, "inner_size": 256, "embedding_size": 64}
    return Config("SASRecID", name, None, quiet | small | {"data_path": data_path} | settings)


def prepare(data_path: str, name: str) -> dict:
    """From a configuration to the first training batch; to be called in a process of its own."""
    from recbole_microlens.data.dataset import create_dataset
    from recbole_microlens.training.preparation import prepare_data

    logging.disable(logging.WARNING)
    clock = _Clock()
    config = config_of(data_path, name, eval_users=10_000, test_users=10_000)
    before = _memory()
    clock.start()
    dataset = create_dataset(config)
    clock.lap("dataset")
    parts = dataset.build()
    clock.lap("split")
    train, valid, test = prepare_data(config, dataset, parts)
    clock.lap("loaders")
    batch = next(iter(train))
    clock.lap("first_training_batch")
    first = next(iter(valid))
    clock.lap("first_validation_batch")
    return {
        "imports_mb": before["now_mb"],
        "seconds": clock.laps,
        "total_s": round(sum(lap["wall_s"] for lap in clock.laps.values()), 1),
        "training_samples": len(train._dataset),
        "users_in_the_first_batch": len(batch),
        "validated_users": valid.sample_size,
        "tested_users": test.sample_size,
        "users_in_a_validation_batch": len(first[0]),
        **_memory(),
    }


def rank(data_path: str, name: str, users: int) -> dict:
    """Rank a number of test users over all items; to be called in a process of its own."""
    import torch

    from recbole_microlens.data.dataset import create_dataset
    from recbole_microlens.training.preparation import prepare_data
    from recbole_microlens.training.trainer import create_trainer

    logging.disable(logging.WARNING)
    config = config_of(data_path, name, test_users=users)
    train, _, test = prepare_data(config, create_dataset(config))
    torch.manual_seed(0)
    trainer = create_trainer(config, config.model_class(config, train._dataset), Path(data_path), train)
    before, clock = _memory(), _Clock()
    clock.start()
    trainer.eval_collector.keeps_ranks = True
    trainer.eval_collector.data_collect(train)
    result = trainer.evaluate(test, load_best_model=False)
    ranks = trainer.eval_collector.ranks()
    clock.lap("ranking")
    return {
        "users": len(ranks),
        "items": test._dataset.item_num - 1,
        "threads": torch.get_num_threads(),
        "users_in_a_batch": test.step,
        "before_mb": before["now_mb"],
        "hit@10": float(result["hit@10"]),
        **clock.laps["ranking"],
        "ms_a_user": round(clock.laps["ranking"]["wall_s"] / len(ranks) * 1e3, 3),
        **_memory(),
    }


class _Clock:
    """Wall and processor time between laps."""

    def __init__(self):
        self.laps: dict[str, dict[str, float]] = {}
        self.start()

    def start(self) -> None:
        self._wall, self._processor = perf_counter(), process_time()

    def lap(self, name: str) -> None:
        wall, processor = perf_counter() - self._wall, process_time() - self._processor
        self.laps[name] = {"wall_s": round(wall, 2), "processor_s": round(processor, 2)}
        self.start()


def _memory() -> dict:
    """MB of this process: now, and the most there were; read pages of memory-mapped files count."""
    status = Path("/proc/self/status").read_text()
    found = {
        key: int(re.search(rf"{line}:\s+(\d+) kB", status)[1])
        for key, line in (("now_mb", "VmRSS"), ("of_files_mb", "RssFile"), ("peak_mb", "VmHWM"))
    }
    return {key: round(value / 1024) for key, value in found.items()}


def _alone(function, *arguments) -> dict:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = pool.submit(function, *arguments).result()
    print(function.__name__, found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("preparation", "ranking"), help="one of the two alone")
    parser.add_argument("--ranked", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--scratch", help="a folder with 3 GB free; by default that of temporary files")
    parser.add_argument("--short", action="store_true", help="a hundredth of the users")
    arguments = parser.parse_args()
    share = 0.01 if arguments.short else 1.0
    result = {"benchmark": "sequence_store", "machine": platform.machine()}
    for part, name in (("preparation", FULL), ("ranking", LARGE)):
        if arguments.part not in (None, part):
            continue
        with TemporaryDirectory(dir=arguments.scratch) as scratch:
            result[part] = {"store": _alone(draw_store, Path(scratch), name, share)}
            if part == "preparation":
                result[part] |= _alone(prepare, scratch, name)
                continue
            ranked = [round(users * share) for users in arguments.ranked]
            result[part]["ranked"] = [_alone(rank, scratch, name, users) for users in ranked]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
