"""The sub-command ``tune``: a search over ranges of settings, chosen by validation."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli import compare
from recbole_microlens.errors import MicroLensError

HELP = "search hyper-parameters"
_TRIALS, _MOST_TRIALS = 10, 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``tune`` to its parser."""
    parser.add_argument("--params", type=Path, required=True, help="a file of ranges, as RecBole's")
    parser.add_argument("--model", "-m", required=True, help="name of the model")
    parser.add_argument("--dataset", "-d", required=True, help="name of the dataset")
    parser.add_argument(
        "--method",
        choices=("grid", "random", "optuna"),
        help="all combinations, random ones, or Optuna's (default: grid if the file has choices alone)",
    )
    parser.add_argument("--trials", type=int, help=f"how many, random or Optuna's (default {_TRIALS})")
    parser.add_argument("--search-seed", type=int, default=0, help="of the random choices (default 0)")
    compare.add_running(parser)
    parser.epilog = "Any setting may be given as --key=value, for all trials."


def call(arguments: argparse.Namespace) -> int:
    """Print the table, the best by validation first; 1 if a run failed."""
    from recbole_microlens.comparison.parameter_file import read_parameters
    from recbole_microlens.comparison.search import PRUNED, grid_rows, random_rows, search_with_optuna
    from recbole_microlens.comparison.table import make_table

    trials = _TRIALS if arguments.trials is None else arguments.trials
    if not 1 <= trials <= _MOST_TRIALS or not 0 <= arguments.search_seed < 2**32:
        raise MicroLensError(
            f"tune: --trials is 1 to {_MOST_TRIALS:,}, --search-seed a whole number below 2^32."
        )
    parameters = read_parameters(arguments.params)
    is_grid = all(parameter.kind == "choice" for parameter in parameters) and arguments.trials is None
    method = arguments.method or ("grid" if is_grid else "random")
    if method == "optuna":
        if arguments.jobs != 1 or arguments.dry_run:
            raise MicroLensError(
                "--method=optuna: a trial depends on those before. Leave out --jobs and --dry-run."
            )
        outcomes = search_with_optuna(
            arguments.model,
            parameters,
            trials,
            arguments.search_seed,
            compare.request_of(arguments),
            compare.root_of,
        )
    else:
        if method == "grid":
            rows = grid_rows(arguments.model, parameters)
        else:
            rows = random_rows(arguments.model, parameters, trials, arguments.search_seed)
        found = compare.outcomes_of(rows, arguments, strict=True)
        if found is None:
            return 0
        outcomes = found
    title = f"Search ({method}) of {arguments.model} on {arguments.dataset}, best validation first"
    table = make_table(title, outcomes, None, None, by_validation=True)
    counted = [outcome for outcome in outcomes if not outcome.reason.startswith(PRUNED)]
    return compare.show(table, counted or outcomes, arguments, f"tune-{arguments.model}")
