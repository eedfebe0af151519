"""The sub-command ``compare``: several runs in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "show the results of several runs side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``compare`` to its parser."""
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, or folders of run folders")
    parser.add_argument(
        "--cost", action="store_true", help="show what the runs cost: parameters, FLOPs, time and memory"
    )


def call(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from recbole_microlens.evaluation.compare import format_results
    from recbole_microlens.evaluation.costs import format_costs

    print((format_costs if arguments.cost else format_results)(arguments.runs))
    return 0
