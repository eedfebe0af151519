"""Rows from finished runs that a user names: runs that differ in their seed alone are one row."""

from __future__ import annotations

import json
from pathlib import Path

from recbole_microlens.comparison.cells import NOT_OF_THE_RESULT, Cell
from recbole_microlens.comparison.paper import row_of_model
from recbole_microlens.comparison.runner import Outcome
from recbole_microlens.evaluation.compare import result_files
from recbole_microlens.evaluation.results import read_result

_NOT_OF_A_ROW = NOT_OF_THE_RESULT | {"seed"}


def outcomes_of_runs(folders: list[Path]) -> list[Outcome]:
    """An outcome for each finished run, those of a row side by side.

    Parameters
    ----------
    folders : list of Path
        Run folders, or folders above them.

    Raises
    ------
    MicroLensError
        No finished run is below a folder, or a ``result.json`` is damaged.
    """
    rows: dict[str, list[Path]] = {}
    for path in dict.fromkeys(path for folder in folders for path in result_files(folder)):
        result = read_result(path)
        settings = {key: value for key, value in result["config"].items() if key not in _NOT_OF_A_ROW}
        key = json.dumps([result["model"], result["dataset"], settings], sort_keys=True, default=str)
        rows.setdefault(key, []).append(path.parent)
    labels: dict[str, int] = {}
    outcomes = []
    for key, runs in rows.items():
        model, dataset, _ = json.loads(key)
        labels[model] = labels.get(model, 0) + 1
        row = row_of_model(model, dataset)
        label = model if labels[model] == 1 else f"{model} #{labels[model]}"
        named = type(row)(label, model, {}, row.paper, row.paper_dataset)
        outcomes += [Outcome(Cell(named, {}, None), run) for run in runs]
    return outcomes
