"""Four models on the sample dataset, on all test targets and on rare and unseen ones: mean and deviation over
seeds.

A seed is one of the data and of the training. ``SASRecID`` and ``SASRecV`` differ in the item embedding
alone. Prints each run, a table of means and standard deviations, and one JSON object as its last line.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from tempfile import TemporaryDirectory

import torch
from tabulate import tabulate

from recbole_microlens.config import Config
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run
from recbole_microlens.sample.dataset import SAMPLE, make_sample

MODELS = ("Pop", "SASRec", "SASRecID", "SASRecV")
SEEDS = (2023, 2024, 2025, 2026, 2027)
METRIC = "hit@10"
SUBSETS = ("all", "rare", "unseen")
# What only an encoder has; in all else SASRecID and SASRecV must agree.
OF_THE_ITEMS = {"model", "item_modality"}


def measure(seed: int, models: list[str], scratch: Path, settings: dict) -> list[dict]:
    """Train each model on the sample of a seed, with this seed; a row of results for each."""
    data = scratch / f"data{seed}"
    make_sample(data, seed=seed, progress=False)
    chosen = {"data_path": str(data), "checkpoint_dir": str(scratch / "runs"), "seed": seed, **settings}
    rows = []
    for model in models:
        result = run(model, SAMPLE, config_dict=chosen)
        groups = result["test_result_by_popularity"]
        rows.append(
            {
                "seed": seed,
                "model": model,
                "all": result["test_result"][METRIC],
                "rare": groups["rare"].get(METRIC),
                "unseen": groups["unseen"].get(METRIC),
                "rare targets": groups["rare"]["targets"],
                "unseen targets": groups["unseen"]["targets"],
                "epochs": len(result["epoch_times_s"]),
                "seconds": round(sum(result["epoch_times_s"]), 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


def summary(rows: list[dict], models: list[str]) -> list[dict]:
    """Mean and standard deviation over the seeds, a row for each model."""
    lines = []
    for model in models:
        line = {"model": model}
        for subset in SUBSETS:
            values = [row[subset] for row in rows if row["model"] == model]
            line[subset] = round(mean(values), 4)
            line[f"{subset} +-"] = round(stdev(values), 4) if len(values) > 1 else None
        lines.append(line)
    return lines


def require_same_training() -> None:
    """Raise a :class:`MicroLensError` where SASRecID and SASRecV differ in more than the item embedding."""
    by_id, by_video = (Config(model, SAMPLE).as_given for model in ("SASRecID", "SASRecV"))
    differing = {key for key in by_id.keys() | by_video.keys() if by_id.get(key) != by_video.get(key)}
    if differing - OF_THE_ITEMS:
        raise MicroLensError(f"SASRecID and SASRecV differ in {sorted(differing - OF_THE_ITEMS)}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--short", action="store_true", help="one seed, two epochs")
    arguments = parser.parse_args()
    require_same_training()
    settings = {"show_progress": False, "state": "WARNING", "use_gpu": torch.cuda.is_available()}
    if arguments.short:
        arguments.seeds, settings["epochs"] = arguments.seeds[:1], 2
    with TemporaryDirectory() as scratch:
        rows = [
            row
            for seed in arguments.seeds
            for row in measure(seed, arguments.models, Path(scratch), settings)
        ]
    lines = summary(rows, arguments.models)
    print(tabulate(lines, headers="keys"))
    print(json.dumps({"benchmark": "sample_signal", "metric": METRIC, "summary": lines, "rows": rows}))


if __name__ == "__main__":
    main()
