"""Rows from what a user asks for: names of models, or a grid of settings in a file."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from recbole_microlens.comparison.cells import Row
from recbole_microlens.comparison.paper import row_of_model
from recbole_microlens.config.schema import check_keys
from recbole_microlens.config.text import read_yaml
from recbole_microlens.errors import MicroLensError

_MOST_ROWS = 10_000


def rows_of_models(names: str, dataset: str) -> list[Row]:
    """A row for each model in a text such as ``Pop SASRec SASRecV``; commas do as well.

    Raises
    ------
    MicroLensError
        There is none.
    """
    models = list(dict.fromkeys(names.replace(",", " ").split()))
    if not models:
        raise MicroLensError('--models is empty. Name some, as in --models "Pop SASRec SASRecID SASRecV".')
    return [row_of_model(model, dataset) for model in models]


def rows_of_grid(path: Path) -> list[Row]:
    """A row for each combination of the values in a file: ``model`` and any settings, each a list of values
    or one value.

    Raises
    ------
    MicroLensError
        The file cannot be read, has no model, an unknown key, an empty list, or too many combinations.
    """
    grid = read_yaml(path)
    check_keys(grid, dict.fromkeys(grid, path))
    if not grid.get("model"):
        raise MicroLensError(f"{path} names no model. Add a line such as: model: [SASRecID, SASRecV].")
    for key in ("dataset", "checkpoint_dir", "seed"):
        if key in grid:
            raise MicroLensError(
                f"{path}: {key} is not part of a grid. Give it as --{'seeds' if key == 'seed' else key}."
            )
    choices = {key: value if isinstance(value, list) else [value] for key, value in grid.items()}
    combinations = 1
    for key, values in choices.items():
        if not values:
            raise MicroLensError(f"{path}: {key} has no values. Give one, or a list of several.")
        combinations *= len(values)
    if combinations > _MOST_ROWS:
        raise MicroLensError(
            f"{path}: {combinations:,} combinations; the most is {_MOST_ROWS:,}. Split the grid."
        )
    varied = [key for key, values in choices.items() if len(values) > 1 and key != "model"]
    return [
        grid_row(dict(zip(choices, values, strict=True)), varied) for values in product(*choices.values())
    ]


def grid_row(settings: dict[str, Any], varied: list[str]) -> Row:
    """A row of one combination, called by its model and what varies."""
    model = settings["model"]
    rest = {key: value for key, value in settings.items() if key != "model"}
    return Row(", ".join([str(model), *(f"{key}={rest[key]}" for key in varied)]), str(model), rest)
