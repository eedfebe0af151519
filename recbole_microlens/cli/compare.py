"""The sub-command ``compare``: several runs in one table, and those that are missing run first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from recbole_microlens.errors import MicroLensError

HELP = "show several runs side by side; run what a table lacks"
_FORMS = (".md", ".csv", ".tex", ".png", ".svg")
_MOST_JOBS = 256
_ASKS = ("models", "table", "grid")
_OF_ROWS = ("seeds", "dataset")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``compare`` to its parser."""
    parser.add_argument("runs", type=Path, nargs="*", help="run folders, or folders of run folders")
    parser.add_argument(
        "--cost", action="store_true", help="show what the runs cost: parameters, FLOPs, time and memory"
    )
    parser.add_argument("--dataset", "-d", help="name of the dataset that the rows are run on")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--models", help='rows: names of models, as in "Pop SASRec SASRecID SASRecV"')
    rows.add_argument("--table", help="rows: those of the paper's table 2, 3, 6, 8, 10, 11 or 12")
    rows.add_argument(
        "--grid", type=Path, help="rows: all combinations of a YAML file, model and settings with lists"
    )
    add_running(parser)
    parser.add_argument("--baseline", help="test the rows against this one, over users")
    parser.add_argument("--metric", help="what is tested (default: hit@10)")
    parser.epilog = "Any setting may be given as --key=value, for all rows."


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add the options of commands that run cells."""
    parser.add_argument("--seeds", help="run each row with each of these, as in 1,2,3")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at the same time (default 1)")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and what it may take")
    parser.add_argument("--config_files", action="append", default=[], help="a file with settings")
    parser.add_argument(
        "--out",
        type=Path,
        help="where the table and its picture go (default: tables/ of checkpoint_dir)",
    )


def call(arguments: argparse.Namespace) -> int:
    """Print the table; 1 if a run failed."""
    if any(getattr(arguments, key) is not None for key in _ASKS):
        return _run_table(arguments)
    used = [key for key in _OF_ROWS if getattr(arguments, key) is not None]
    if used or arguments.settings or arguments.dry_run or arguments.config_files:
        given = [f"--{key}" for key in [*used, *arguments.settings]] or ["--dry-run"]
        raise MicroLensError(
            f"compare: {given[0]} is for tables whose rows are run. Name the rows by --models, --table or "
            "--grid."
        )
    if not arguments.runs:
        raise MicroLensError(
            "compare: give run folders to show, or --dataset and one of --models, --table, --grid to run."
        )
    if any(getattr(arguments, key) is not None for key in ("baseline", "metric", "out")):
        return _test_runs(arguments)
    from recbole_microlens.evaluation.compare import format_results
    from recbole_microlens.evaluation.costs import format_costs

    print((format_costs if arguments.cost else format_results)(arguments.runs))
    return 0


def _test_runs(arguments: argparse.Namespace) -> int:
    """Runs that are there in one table, tested against one of them."""
    from recbole_microlens.comparison.by_hand import outcomes_of_runs
    from recbole_microlens.comparison.formats import markdown
    from recbole_microlens.comparison.table import baseline_row, make_table

    outcomes = outcomes_of_runs(arguments.runs)
    if arguments.baseline is not None:
        baseline_row([outcome.cell.row for outcome in outcomes], arguments.baseline)
    table = make_table("Runs", outcomes, arguments.metric, arguments.baseline)
    print(markdown(table))
    if arguments.out is not None:
        print("written: " + ", ".join(map(str, _written(table, arguments.out))))
    return 0


def _run_table(arguments: argparse.Namespace) -> int:
    if arguments.runs:
        raise MicroLensError(
            f"compare: {arguments.runs[0]} is a run folder, and the rows are named as well. Leave one out; a "
            "setting is written --key=value."
        )
    if arguments.dataset is None:
        raise MicroLensError("compare: --dataset is missing. Write --dataset=NAME.")
    from recbole_microlens.comparison.grid import rows_of_grid, rows_of_models
    from recbole_microlens.comparison.paper import table_rows
    from recbole_microlens.comparison.table import baseline_row, make_table
    from recbole_microlens.config.cold_settings import COLD

    if arguments.table is not None:
        rows, title = table_rows(arguments.table, arguments.dataset), f"Table {arguments.table} of the paper"
        name = f"table-{arguments.table}"
    elif arguments.grid is not None:
        rows, title, name = rows_of_grid(arguments.grid), arguments.grid.stem, arguments.grid.stem
    else:
        rows, title, name = rows_of_models(arguments.models, arguments.dataset), "Models", "models"
    if arguments.baseline is not None:
        baseline_row(rows, arguments.baseline)  # before anything runs
    outcomes = outcomes_of(rows, arguments, strict=arguments.table is None)
    if outcomes is None:
        return 0
    table = make_table(f"{title} on {arguments.dataset}", outcomes, arguments.metric, arguments.baseline)
    if arguments.settings.get("protocol") == COLD:
        name += f"-{COLD}"  # of the usual protocol there may be one
    return show(table, outcomes, arguments, name)


def outcomes_of(rows: list, arguments: argparse.Namespace, strict: bool, watch=None) -> list | None:
    """Bring the cells of rows to their results; ``None`` after a dry run, which prints them."""
    from recbole_microlens.comparison.cells import cells_of
    from recbole_microlens.comparison.estimate import plan
    from recbole_microlens.comparison.runner import Runner

    if not 1 <= arguments.jobs <= _MOST_JOBS:
        raise MicroLensError(
            f"--jobs: {arguments.jobs} is not a number of processes. Give 1 to {_MOST_JOBS}."
        )
    request = request_of(arguments)
    cells = cells_of(rows, request, strict)
    root = root_of(cells)
    if arguments.dry_run:
        print("\n".join(plan(cells, root)))
        return None
    return Runner(request, root, arguments.jobs, watch).run(cells)


def request_of(arguments: argparse.Namespace):
    """What the cells have in common."""
    from recbole_microlens.comparison.cells import Request
    from recbole_microlens.config.text import config_files

    files = tuple(config_files(arguments.config_files))
    for key in ("model", "dataset", "seed", "resume"):
        if key in arguments.settings:
            instead = "Give --seeds." if key == "seed" else "Leave it out."
            raise MicroLensError(f"--{key} is not for all rows of a table. {instead}")
    return Request(arguments.dataset, arguments.settings, files, _seeds(arguments.seeds))


def root_of(cells: list) -> Path:
    """The ``checkpoint_dir`` of all cells."""
    return Path(next((cell.config.as_given["checkpoint_dir"] for cell in cells if cell.config), "runs"))


def _seeds(text: str | None) -> tuple[int, ...]:
    words = (text or "").replace(",", " ").split()
    if text is not None and (not words or not all(map(_is_seed, words))):
        raise MicroLensError(
            f"--seeds: {text[:60]!r} are not whole numbers of at most nine digits. Write them as in "
            "--seeds=1,2,3."
        )
    return tuple(dict.fromkeys(map(int, words)))


def _is_seed(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 10


def show(table, outcomes: list, arguments: argparse.Namespace, name: str) -> int:
    """Print, write and draw a table; 1 if a cell has no result."""
    from recbole_microlens.comparison.formats import markdown

    out = (
        arguments.out
        or root_of([outcome.cell for outcome in outcomes]) / "tables" / f"{arguments.dataset}-{name}"
    )
    written = _written(table, out)
    print(markdown(table))
    print("written: " + ", ".join(map(str, written)))
    failed = [outcome for outcome in outcomes if outcome.folder is None]
    if failed:
        print(f"{len(failed)} of {len(outcomes)} runs have no result; the table says why.", file=sys.stderr)
    return 1 if failed else 0


def _written(table, out: Path) -> list[Path]:
    from recbole_microlens.comparison.formats import write_table
    from recbole_microlens.comparison.picture import draw_table

    path = out.with_suffix("") if out.suffix in _FORMS else out
    return write_table(table, path) + draw_table(table, path)
