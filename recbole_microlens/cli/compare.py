"""The sub-command ``compare``: several runs in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "show the results of several runs side by side"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``compare`` to its parser."""
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, or folders of run folders")


def call(arguments: argparse.Namespace) -> int:
    """Print the table."""
    from recbole_microlens.evaluation.compare import format_results

    print(format_results(arguments.runs))
    return 0
