"""Searches over ranges of settings: all combinations, random ones, or Optuna's, pruned by validation."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from recbole_microlens.comparison.cells import Cell, Request, Row, cells_of
from recbole_microlens.comparison.found import RunsBelow
from recbole_microlens.comparison.grid import grid_row
from recbole_microlens.comparison.parameter_file import Parameter
from recbole_microlens.comparison.runner import Outcome, Runner
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.training.run_folder import LOG

METHODS = ("grid", "random", "optuna")
PRUNED = "pruned: "
_MOST_ROWS = 10_000
_DRAWS_FOR_ONE = 100  # until a combination is new
_VALIDATION = re.compile(r"epoch (\d+) evaluating .*valid_score: (-?[\d.]+(?:e-?\d+)?)")


def grid_rows(model: str, parameters: list[Parameter]) -> list[Row]:
    """All combinations of the choices.

    Raises
    ------
    MicroLensError
        A parameter is not a choice, or there are too many.
    """
    ranges = [each.name for each in parameters if each.kind != "choice"]
    if ranges:
        raise MicroLensError(
            f"--method=grid: {ranges[0]} is a range, not a choice. Write its values as a choice, or set "
            "--method=random."
        )
    combinations = int(np.prod([float(len(each.values)) for each in parameters]))
    if combinations > _MOST_ROWS:
        raise MicroLensError(f"--method=grid: {combinations:,} combinations. Set --method=random --trials=N.")
    return [_row(model, parameters, values) for values in product(*(each.values for each in parameters))]


def random_rows(model: str, parameters: list[Parameter], trials: int, seed: int) -> list[Row]:
    """Random combinations, no two alike; fewer than ``trials`` where there are no more."""
    rng = np.random.default_rng(seed)
    rows: dict[str, Row] = {}
    for _ in range(trials * _DRAWS_FOR_ONE):
        row = _row(model, parameters, [parameter.drawn(rng) for parameter in parameters])
        rows.setdefault(row.label, row)
        if len(rows) == trials:
            break
    return list(rows.values())


def _row(model: str, parameters: list[Parameter], values: Iterable[Any]) -> Row:
    names = [parameter.name for parameter in parameters]
    return grid_row({"model": model, **dict(zip(names, values, strict=True))}, names)


def validation_of(outcomes: list[Outcome]) -> float | None:
    """The mean over seeds of the metric that validation goes by; ``None`` if a run has no result."""
    if any(outcome.folder is None for outcome in outcomes):
        return None
    results = [read_result(outcome.folder / RESULT) for outcome in outcomes if outcome.folder is not None]
    name = str(results[0]["config"]["valid_metric"]).lower()
    values = [result["best_valid_result"].get(name) for result in results]
    return None if None in values else float(np.mean(values))


def search_with_optuna(
    model: str, parameters: list[Parameter], trials: int, seed: int, request: Request, root_of: Callable
) -> list[Outcome]:
    """The outcomes of combinations that Optuna suggests (TPE), one after the other; one whose validation is
    below the median of the others' at the same epoch is ended.

    The same seed suggests the same combinations, so that a search which was interrupted continues.

    Parameters
    ----------
    root_of : callable
        Gives the ``checkpoint_dir`` of cells.

    Raises
    ------
    MicroLensError
        Optuna is not installed.
    """
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    outcomes: dict[str, list[Outcome]] = {}
    for _ in range(trials):
        trial = study.ask()
        row = _row(model, parameters, [_suggested(trial, parameter) for parameter in parameters])
        cells = cells_of([row], request, strict=True)
        watch = _Watch(trial, cells, RunsBelow(root_of(cells)))
        own = watch.run(Runner(request, root_of(cells), watch=watch))
        outcomes[row.label] = own
        _tell(study, trial, own, watch.sign, optuna.trial.TrialState)
    return [outcome for own in outcomes.values() for outcome in own]


def _tell(study, trial, outcomes: list[Outcome], sign: float, states) -> None:
    value = validation_of(outcomes)
    if value is not None:
        study.tell(trial, sign * value)
    elif any(outcome.reason.startswith(PRUNED) for outcome in outcomes):
        study.tell(trial, state=states.PRUNED)
    else:
        study.tell(trial, state=states.FAIL)


def _optuna():
    try:
        import optuna
    except ImportError as error:
        raise MicroLensError(
            "--method=optuna: Optuna is not installed. Install it with: pip install 'optuna>=4,<5', or set "
            "--method=random."
        ) from error
    return optuna


def _suggested(trial, parameter: Parameter) -> Any:
    if parameter.kind == "choice":
        # Optuna keeps plain values alone: a list or a dict is chosen by its number.
        names = [json.dumps(value) for value in parameter.values]
        return parameter.values[names.index(trial.suggest_categorical(parameter.name, names))]
    low, high, *step = parameter.values
    return parameter.of(trial.suggest_float(parameter.name, low, high), *step)


class _Watch:
    """Tells a trial of each validation of its first cell, and says when it is to end."""

    def __init__(self, trial, cells: list[Cell], runs: RunsBelow):
        self._trial, self._cells, self._runs = trial, cells, runs
        self._seen: set[int] = set()
        self._pruned_at: int | None = None
        config = cells[0].config
        self.sign = 1.0 if config is None or config["valid_metric_bigger"] else -1.0

    def run(self, runner: Runner) -> list[Outcome]:
        self._runs.look()
        begun = self._runs.interrupted.get(self._cells[0].identity)
        if begun is not None and (begun / LOG).is_file() and self(self._cells[0], begun / LOG):
            return [replace(Outcome(cell, None), reason=self._reason()) for cell in self._cells]
        return [
            replace(outcome, reason=self._reason())
            if outcome.folder is None and self._pruned_at is not None
            else outcome
            for outcome in runner.run(self._cells)
        ]

    def __call__(self, cell: Cell, output: Path) -> bool:
        if cell is not self._cells[0] or not output.is_file():
            return False
        for epoch, score in validations(output):
            if epoch not in self._seen:
                self._seen.add(epoch)
                self._trial.report(self.sign * score, epoch)
                if self._trial.should_prune():
                    self._pruned_at = epoch
                    return True
        return self._pruned_at is not None

    def _reason(self) -> str:
        return f"{PRUNED}validation after epoch {self._pruned_at} is below the median of the others"


def validations(output: Path) -> list[tuple[int, float]]:
    """Epoch and score of each validation that a log tells of."""
    text = output.read_text(encoding="utf-8", errors="replace")
    return [(int(epoch), float(score)) for epoch, score in _VALIDATION.findall(text)]
