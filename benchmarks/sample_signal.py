"""HR@10 of three models on the sample dataset, on all test targets and on rare ones, over seeds.

A target is rare if its item has at most ``--rare`` training interactions; the new items of the sample have
none. Prints a table, and one JSON object as its last line.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tabulate import tabulate

from recbole_microlens.quick_start import load_run, run
from recbole_microlens.sample_dataset import SAMPLE, make_sample

MODELS = ("Pop", "SASRec", "SASRecV")


def hits_at_10(folder: str, counts: dict[str, int], rare: int, scratch: Path) -> tuple[float, float, int]:
    """HR@10 on all test targets and on the rare ones, and the number of the latter."""
    _, (_, _, test_data), trainer = load_run(folder, scratch)
    trainer.evaluate(test_data, load_best_model=False)
    tokens = test_data._dataset.field2id_token["item_id"]
    hits, is_rare = [], []
    with torch.no_grad():
        for batch in test_data:
            _, scores, row, target = trainer._full_sort_batch_eval(batch)
            best = scores.topk(10, dim=1).indices
            hits += (best[row] == target.to(best.device)[:, None]).any(1).tolist()
            is_rare += [counts.get(str(tokens[item]), 0) <= rare for item in target.tolist()]
    hits, is_rare = torch.tensor(hits).float(), torch.tensor(is_rare)
    return hits.mean().item(), hits[is_rare].mean().item(), int(is_rare.sum())


def training_counts(inter: Path, most: int = 13) -> dict[str, int]:
    """Training interactions of each item under the protocol: of a user's latest 13, all but the last two."""
    users: dict[str, list[str]] = {}
    for line in inter.read_text(encoding="utf-8").splitlines()[1:]:
        user, item, _ = line.split("\t")
        users.setdefault(user, []).append(item)
    counts: dict[str, int] = {}
    for items in users.values():
        for item in items[-most:][:-2]:
            counts[item] = counts.get(item, 0) + 1
    return counts


def measure(seed: int, models: list[str], rare: int, scratch: Path, settings: dict) -> list[dict]:
    """Train each model on the sample of a seed, with this seed."""
    data = scratch / f"data{seed}"
    counts = training_counts(make_sample(data, seed=seed, progress=False) / f"{SAMPLE}.inter")
    rows = []
    for model in models:
        chosen = {"data_path": str(data), "checkpoint_dir": str(scratch / "runs"), "seed": seed, **settings}
        result = run(model, SAMPLE, config_dict=chosen)
        hit, rare_hit, rare_targets = hits_at_10(result["folder"], counts, rare, scratch)
        rows.append(
            {
                "seed": seed,
                "model": model,
                "hit@10": round(hit, 4),
                "hit@10 rare": round(rare_hit, 4),
                "rare targets": rare_targets,
                "epochs": len(result["epoch_times_s"]),
                "seconds": round(sum(result["epoch_times_s"]), 1),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2023, 2024, 2025])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--rare", type=int, default=3, help="training interactions of a rare item, at most")
    parser.add_argument("--short", action="store_true", help="one seed, two epochs")
    arguments = parser.parse_args()
    settings = {"show_progress": False, "state": "WARNING", "use_gpu": torch.cuda.is_available()}
    if arguments.short:
        arguments.seeds, settings["epochs"] = arguments.seeds[:1], 2
    with TemporaryDirectory() as scratch:
        rows = [
            row
            for seed in arguments.seeds
            for row in measure(seed, arguments.models, arguments.rare, Path(scratch), settings)
        ]
    print(tabulate(rows, headers="keys"))
    print(json.dumps({"benchmark": "sample_signal", "rare_at_most": arguments.rare, "rows": rows}))


if __name__ == "__main__":
    main()
