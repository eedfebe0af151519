"""The sub-command ``analyse``: what runs are like beyond their averages."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

HELP = "show metrics by popularity and by history, and what the recommended lists are like"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``analyse`` to its parser."""
    parser.add_argument(
        "runs", type=Path, nargs="+", help="run folders, or folders above them; the first run is the baseline"
    )
    add_metric(parser)
    parser.add_argument("--groups", type=int, default=5, help="groups of targets (default 5)")
    parser.add_argument(
        "--ranks-only", action="store_true", help="load no model: no coverage, gini, novelty and slope"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Add ``--metric``, which is also how long lists are."""
    parser.add_argument(
        "--metric", default="hit@10", help="hit, ndcg, mrr, recall or precision at a cut-off (default hit@10)"
    )


def call(arguments: argparse.Namespace) -> int:
    """Print the tables."""
    from recbole_microlens.analysis.analyse import analyse
    from recbole_microlens.analysis.runs import open_runs
    from recbole_microlens.analysis.text import as_text

    found = analyse(
        open_runs(arguments.runs), arguments.metric, arguments.groups, lists=not arguments.ranks_only
    )
    print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) if arguments.json else as_text(found))
    return 0
