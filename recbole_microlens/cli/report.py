"""The sub-command ``report``: one page of several runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.analyse import add_metric

HELP = "write one page with the tables and pictures of several runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``report`` to its parser."""
    parser.add_argument(
        "runs", type=Path, nargs="+", help="run folders, or folders above them; the first run is the baseline"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), help="the page (default report.html)"
    )
    add_metric(parser)
    parser.add_argument("--groups", type=int, default=5, help="groups of targets (default 5)")
    parser.add_argument("--ranks-only", action="store_true", help="load no model: no table of the lists")
    parser.add_argument("--videos", type=Path, help="the folder of the dataset's videos, for their durations")


def call(arguments: argparse.Namespace) -> int:
    """Write the page, and print where it is."""
    from recbole_microlens.analysis.report import write_report
    from recbole_microlens.analysis.runs import open_runs

    write_report(
        open_runs(arguments.runs),
        arguments.out,
        arguments.metric,
        arguments.groups,
        lists=not arguments.ranks_only,
        videos=arguments.videos,
    )
    print(arguments.out)
    return 0
