"""The sub-command ``plot``: one picture, as PNG or SVG."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.analyse import add_metric
from recbole_microlens.cli.options import DATA_PATH
from recbole_microlens.errors import MicroLensError

HELP = "draw a picture of runs, or of a dataset, as wide as a column"
_KINDS = {
    "curves": "loss and validation metric by epoch",
    "bars": "test metrics",
    "popularity": "a metric by popularity of the target; ratios to the first of several runs",
    "history": "the same by length of the user's history",
    "encoders": "the paper's encoders on Kinetics and here; with runs of your own, if any are given",
    "dataset": "popularity, histories and, with --videos, durations",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``plot`` to its parser."""
    kinds = "; ".join(f"{kind}: {what}" for kind, what in _KINDS.items())
    parser.add_argument("kind", choices=_KINDS, help=kinds)
    parser.add_argument("runs", type=Path, nargs="*", help="run folders, or folders above them")
    parser.add_argument("--out", type=Path, required=True, help="the picture: a .png or .svg file")
    add_metric(parser)
    parser.add_argument("--groups", type=int, default=5, help="groups of targets (default 5)")
    parser.add_argument("--dataset", "-d", help="the dataset of the kind `dataset`")
    parser.add_argument(
        "--data-path", type=Path, default=DATA_PATH, help=f"folder of all datasets (default {DATA_PATH})"
    )
    parser.add_argument("--videos", type=Path, help="the folder of its videos, for their durations")


def call(arguments: argparse.Namespace) -> int:
    """Draw the picture, and print where it is."""
    from recbole_microlens.plots.style import check_form, save

    check_form(arguments.out)
    save(_figure(arguments), arguments.out)
    print(arguments.out)
    return 0


def _figure(arguments: argparse.Namespace):
    if arguments.kind == "dataset":
        return _of_dataset(arguments)
    from recbole_microlens.analysis import pictures
    from recbole_microlens.analysis.analyse import analyse
    from recbole_microlens.analysis.runs import open_runs

    runs = open_runs(arguments.runs)
    if arguments.kind == "encoders":
        return pictures.encoders_of(runs, arguments.metric)
    if not runs:
        raise MicroLensError(
            f"plot {arguments.kind}: no run is given. Name run folders, or folders above them."
        )
    if arguments.kind == "curves":
        return pictures.curves_of(runs)
    if arguments.kind == "bars":
        return pictures.bars_of(runs)
    found = analyse(runs, arguments.metric, arguments.groups, lists=False)
    return (pictures.popularity_of if arguments.kind == "popularity" else pictures.history_of)(found)


def _of_dataset(arguments: argparse.Namespace):
    from recbole_microlens.analysis.dataset_counts import dataset_counts
    from recbole_microlens.media.durations import read_durations
    from recbole_microlens.plots.dataset import dataset_statistics

    if arguments.dataset is None or arguments.runs:
        raise MicroLensError(
            "plot dataset: takes no runs. Write --dataset=NAME, and --videos=FOLDER if you like."
        )
    items, users = dataset_counts(arguments.data_path, arguments.dataset)
    durations = None
    if arguments.videos is not None:
        found = read_durations(arguments.videos)
        durations = found.values()
        if found.failed:
            print(f"{len(found.failed):,} of {len(found.failed) + len(durations):,} videos say no duration")
    return dataset_statistics(items, users, durations)
