"""One table of the test results of several runs, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.evaluation.groups import RARE_AT_MOST
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.evaluation.tested_on import tested_on, users_tested
from recbole_microlens.evaluation.text_table import Column, blocks, number
from recbole_microlens.items.modality import ENCODED

_LONGEST = 25  # of what stands in a cell for an encoder; the registry's longest is as long
_SHOWN_GROUPS = ("rare", "unseen")
_LEGEND = (
    f"rare, unseen: targets whose item has at most {RARE_AT_MOST}, or no, training interactions.\n"
    "RecBole's own training has another loss, optimiser and stopping rule."
)


def format_results(folders: list[Path]) -> str:
    """For each dataset a table with a row for each run: model, what its items are made of, whose training it
    is, the test metrics, overall and on rare and unseen targets, and seconds an epoch; then the run folders.
    Runs that were tested on cold items have tables of their own.

    Parameters
    ----------
    folders : list[Path]
        Run folders, or folders above them.

    Raises
    ------
    MicroLensError
        No finished run is below a folder, or a ``result.json`` is damaged.
    """
    results = results_below(folders)
    has_groups = any(result["groups"] and not tested_on(result["config"]) for result in results)
    legend = _LEGEND if has_groups else ""
    return tables_of(results, result_columns, legend)


def tables_of(results: list[dict], columns: Callable[[list[dict]], list[Column]], legend: str) -> str:
    """For each dataset and kind of test a table with a row for each run; then the legend, if any, and the run
    folders.
    """
    parts = []
    for heading in dict.fromkeys(map(_heading, results)):
        runs = [result for result in results if _heading(result) == heading]
        parts += [heading, *blocks(key_columns(runs), columns(runs))]
    return "\n\n".join([*parts, *[legend] * bool(legend), run_folders(results)])


def _heading(result: dict) -> str:
    kinds = [kind for kind in (tested_on(result["config"]), users_tested(result["config"])) if kind]
    return ": ".join([result["dataset"], *["; ".join(kinds)] * bool(kinds)])


def results_below(folders: list[Path]) -> list[dict]:
    """The results of all runs below the folders, each with its ``number`` in a table, from 1 on, and the
    ``path`` of the folder that it was read from.

    Raises
    ------
    MicroLensError
        No finished run is below a folder, or a ``result.json`` is damaged.
    """
    paths = [path for folder in folders for path in result_files(folder)]
    return [
        read_result(path) | {"number": str(place), "path": path.parent} for place, path in enumerate(paths, 1)
    ]


def run_folders(results: list[dict]) -> str:
    """The folder of each run behind its number, a line each."""
    return "\n".join(f"{result['number']:>3}  {result['folder']}" for result in results)


def items_of(config: dict) -> str:
    """What a run's items are made of, a line for each modality: ``id``, ``video: efficientnet_lite0``."""
    named = config.get("item_modality") or ["id"]
    named = named if isinstance(named, list) else [named]
    return "\n".join(_looked_at(config, printable(name)) for name in named)


def _looked_at(config: dict, name: str) -> str:
    if name not in ENCODED:
        return _short(name)
    features = config.get("features")
    features = features.get(name) if isinstance(features, dict) else features
    source = features or config.get("encoder") or config.get(f"{name}_encoder") or "?"
    return _short(f"{name}: {Path(printable(source)).name}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def key_columns(runs: list[dict]) -> list[Column]:
    """What tells a run from the others: its number and its model."""
    models = [run["model"] for run in runs]
    return [Column("#", [run["number"] for run in runs]), Column("model", models, is_text=True)]


def result_columns(runs: list[dict]) -> list[Column]:
    """All other columns, in the order of what is looked at first."""
    metrics = list(dict.fromkeys(name for run in runs for name in run["test_result"]))
    wanted = str(runs[0]["config"].get("valid_metric", "")).lower()
    metrics.sort(key=lambda name: name != wanted)
    first, *others = metrics or [""]
    columns = [
        Column("items", [items_of(run["config"]) if run["config"] else "?" for run in runs], is_text=True),
        Column("training", [training_of(run["config"]) for run in runs], is_text=True),
        Column(first, [number(run["test_result"].get(first)) for run in runs]),
    ]
    # Cold items are all unseen.
    for group in () if tested_on(runs[0]["config"]) else _SHOWN_GROUPS:
        values = [run["groups"].get(group, {}).get(first) for run in runs]
        if any(value is not None for value in values):
            columns.append(Column(f"{group}\n{first}", [number(value) for value in values]))
    columns += [Column(name, [number(run["test_result"].get(name)) for run in runs]) for name in others]
    times = [run["epoch_times_s"] for run in runs]
    return [*columns, Column("s/epoch", [number(sum(t) / len(t), 2) if t else "-" for t in times])]


def training_of(config: dict) -> str:
    """Whose training a run has: ``the paper's``, ``RecBole's own``, or ``?`` for a run of an old version."""
    if not config:
        return "?"
    return "the paper's" if config.get("item_modality") else "RecBole's own"


def result_files(folder: Path) -> list[Path]:
    """The ``result.json`` of all finished runs below a folder; raises where there is none."""
    files = sorted(folder.rglob(RESULT))
    if not files:
        raise MicroLensError(
            f"There is no finished run ({RESULT}) in {folder}. Give a run folder, or one above it."
        )
    return files
