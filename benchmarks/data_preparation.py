"""Preparing the data of a run, from a loaded dataset to the three loaders, against stock RecBole.

Synthetic interactions of MicroLens-100K's size. Both prepare the same loaded data in turn; every sample of
every part is compared, field by field. Prints one JSON object as its last line; times are medians.
"""

import argparse
import copy
import json
import logging
import platform
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from recbole.data import data_preparation
from recbole.data import dataset as recbole_datasets
from shared.interactions import write_interactions

from recbole_microlens.compat.recbole import PandasThree
from recbole_microlens.config import Config
from recbole_microlens.data.dataset import HISTORY_LENGTH, create_dataset
from recbole_microlens.training.preparation import prepare_data

NAME = "preparation-benchmark"


def config_of(model: str, data: Path) -> Config:
    quiet = {"data_path": str(data), "checkpoint_dir": str(data), "show_progress": False, "use_gpu": False}
    return Config(model, NAME, config_dict=quiet)


def same_samples(ours: tuple, stock: tuple) -> bool:
    """Are all fields of all samples equal, in type and value? Ours have one field more."""
    for our_loader, stock_loader in zip(ours, stock, strict=True):
        our, other = our_loader._dataset.inter_feat, stock_loader._dataset.inter_feat
        fields = [field for field in our.columns if field != HISTORY_LENGTH]
        if fields != other.columns or any(our[field].dtype != other[field].dtype for field in fields):
            return False
        if not all(torch.equal(our[field], other[field]) for field in fields):
            return False
    return True


def compare(model: str, base: type, data: Path, rounds: int) -> dict:
    """Seconds of both for one model, in turn, and whether the samples are the same."""
    config = config_of(model, data)
    stock = type("Stock", (PandasThree, base), {})(config)
    ours = create_dataset(config)
    seconds, loaders = {"stock": [], "ours": []}, {}
    for number in range(rounds):
        for name, prepare, dataset in (("stock", data_preparation, stock), ("ours", prepare_data, ours)):
            loaders[name] = None
            start = perf_counter()
            loaders[name] = prepare(config, copy.copy(dataset))
            seconds[name].append(perf_counter() - start)
            print(f"{model} {number + 1}/{rounds} {name}: {seconds[name][-1]:.3f} s", flush=True)
    same = same_samples(loaders["ours"], loaders["stock"])
    times = {name: median(times) for name, times in seconds.items()}
    return {
        "stock_s": round(times["stock"], 3),
        "ours_s": round(times["ours"], 3),
        "stock_over_ours": round(times["stock"] / times["ours"], 1),
        "same_samples": same,
    }


def whole_sequences_seconds(data: Path, rounds: int) -> float:
    """Median seconds to build the samples of a content model: one training sample a user."""
    dataset, seconds = create_dataset(config_of("SASRecV", data)), []
    for _ in range(rounds):
        chosen = copy.copy(dataset)
        start = perf_counter()
        chosen.build()
        seconds.append(perf_counter() - start)
    return round(median(seconds), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="a tenth of the users, three rounds")
    arguments = parser.parse_args()
    share, rounds = (0.1, 3) if arguments.short else (1.0, arguments.rounds)
    logging.disable(logging.WARNING)
    with TemporaryDirectory() as scratch:
        data = write_interactions(Path(scratch), NAME, share)
        sequential = compare("SASRec", recbole_datasets.SequentialDataset, data, rounds)
        general = compare("BPR", recbole_datasets.Dataset, data, rounds)
        whole = whole_sequences_seconds(data, rounds)
    result = {
        "benchmark": "data_preparation",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "share_of_microlens_100k": share,
        "rounds": rounds,
        "SASRec": sequential,
        "BPR": general,
        "SASRecV_build_s": whole,
        "stock_over_ours": sequential["stock_over_ours"],
        "same_samples": sequential["same_samples"] and general["same_samples"],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
