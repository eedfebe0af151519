"""The sub-command ``sample``: make the sample dataset."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.options import add_data_path

HELP = "make the sample dataset microlens-sample"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``sample`` to its parser."""
    add_data_path(parser)
    parser.add_argument(
        "--release", type=Path, help="also keep the release folder that it is made from, in this folder"
    )
    parser.add_argument(
        "--seed", type=int, default=2023, help="the same seed gives the same data (default 2023)"
    )


def call(arguments: argparse.Namespace) -> int:
    """Make it, and say what to do with it."""
    from recbole_microlens.sample.dataset import make_sample

    folder = make_sample(arguments.data_path, arguments.release, arguments.seed)
    print(
        f"The sample dataset is in {folder}. Next: python run_recbole_ml.py --model=SASRecV "
        "--dataset=microlens-sample"
    )
    return 0
