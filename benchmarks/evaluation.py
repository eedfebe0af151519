"""Full ranking of every user over every item, against stock RecBole's evaluation of the same model.

Synthetic interactions of MicroLens-100K's size; the model is not trained, which does not matter to the time.
Measured twice: with the model's scoring, and with scores that are at hand (ranking alone). Prints one JSON
object as its last line; times are medians of rounds in turn.
"""

import argparse
import json
import logging
import platform
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.utils import create_samplers
from recbole.trainer import Trainer
from shared.interactions import write_interactions

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

NAME = "evaluation-benchmark"
SCORE_ROWS = 1000
METRICS = ["Hit", "NDCG", "MRR", "MAP", "Recall", "Precision"]


def prepared(model: str, data: Path, use_gpu: bool):
    """The configuration, an untrained model, and two ways to evaluate it: {name: (trainer, loader)}."""
    settings = {
        "data_path": str(data),
        "checkpoint_dir": str(data),
        "show_progress": False,
        "use_gpu": use_gpu,
        "mask_history": False,  # stock RecBole masks none for sequential models
        "metrics": METRICS,
        "metric_decimal_place": 15,
        "hidden_size": 64,  # RecBole's own; the paper's 2048 would time the model, not the evaluation
        "inner_size": 256,
    }
    config = Config(model, NAME, config_dict=settings)
    dataset = create_dataset(config)
    train, _, test = prepare_data(config, dataset)
    torch.manual_seed(0)
    network = config.model_class(config, train._dataset).to(config["device"])
    again = create_dataset(config)
    parts = again.build()
    stock_test = FullSortEvalDataLoader(config, parts[2], create_samplers(config, again, parts)[2])
    ours = create_trainer(config, network, data, train)
    return network, {"stock": (Trainer(config, network), stock_test), "ours": (ours, test)}


def compare(ways: dict, rounds: int, label: str) -> dict:
    """Seconds of both evaluations, in turn, and whether their metrics are the same to the last digit."""
    seconds, results = {name: [] for name in ways}, {}
    for number in range(rounds):
        for name, (trainer, loader) in ways.items():
            start = perf_counter()
            results[name] = trainer.evaluate(loader, load_best_model=False)
            seconds[name].append(perf_counter() - start)
            print(f"{label} {number + 1}/{rounds} {name}: {seconds[name][-1]:.2f} s", flush=True)
    times = {name: median(times) for name, times in seconds.items()}
    return {
        "stock_s": round(times["stock"], 2),
        "ours_s": round(times["ours"], 2),
        "stock_over_ours": round(times["stock"] / times["ours"], 1),
        "same_metrics": results["ours"] == results["stock"],
    }


def put_scores_at_hand(network, loader) -> None:
    """Let the model answer with scores made before: they depend on the user alone."""
    dataset = loader._dataset
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(SCORE_ROWS, dataset.item_num, generator=generator)
    scores = scores.to(next(network.parameters()).device)
    network.full_sort_predict = lambda interaction: scores[interaction[dataset.uid_field] % SCORE_ROWS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="SASRec", help="a stock sequential or general model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--short", action="store_true", help="a tenth of the users, one round")
    arguments = parser.parse_args()
    share, rounds = (0.1, 1) if arguments.short else (1.0, arguments.rounds)
    logging.disable(logging.WARNING)
    with TemporaryDirectory() as scratch:
        data = write_interactions(Path(scratch), NAME, share)
        network, ways = prepared(arguments.model, data, arguments.gpu)
        whole = compare(ways, rounds, "evaluation")
        put_scores_at_hand(network, ways["ours"][1])
        ranking = compare(ways, rounds, "ranking alone")
    test = ways["ours"][1]
    result = {
        "benchmark": "evaluation",
        "machine": torch.cuda.get_device_name() if arguments.gpu else platform.machine(),
        "threads": torch.get_num_threads(),
        "model": arguments.model,
        "users": test.sample_size,
        "items": test._dataset.item_num - 1,
        "users_in_a_batch": {name: loader.step for name, (_, loader) in ways.items()},
        "rounds": rounds,
        "evaluation": whole,
        "ranking_alone": ranking,
        "stock_over_ours": ranking["stock_over_ours"],
        "same_metrics": whole["same_metrics"] and ranking["same_metrics"],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
