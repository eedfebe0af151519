"""One table of the test results of several runs."""

import json
from pathlib import Path

from tabulate import tabulate

from recbole_microlens.errors import MicroLensError
from recbole_microlens.run_folder import RESULT


def format_results(folders: list[Path]) -> str:
    """A table with a row for each run: dataset, model, test metrics, time per epoch, and the folder.

    Parameters
    ----------
    folders : run folders, or folders above them.

    Raises
    ------
    MicroLensError
        No finished run is below a folder, or a ``result.json`` cannot be read.
    """
    results = [_read(path) for folder in folders for path in _result_files(folder)]
    metrics = list(dict.fromkeys(name for result in results for name in result["test_result"]))
    rows = [
        [
            result["dataset"],
            result["model"],
            *(result["test_result"].get(name) for name in metrics),
            _mean(result["epoch_times_s"]),
            result["folder"],
        ]
        for result in results
    ]
    headers = ["dataset", "model", *metrics, "s/epoch", "run"]
    formats = ("", "", *(".4f" for _ in metrics), ".2f", "")
    return tabulate(rows, headers, floatfmt=formats, missingval="-")


def _result_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob(RESULT))
    if not files:
        raise MicroLensError(
            f"There is no finished run ({RESULT}) in {folder}. Give a run folder, or one above it."
        )
    return files


def _read(path: Path) -> dict:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        return {key: result[key] for key in ("dataset", "model", "test_result", "epoch_times_s", "folder")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MicroLensError(
            f"{path} is not the result of a run ({error!r}). Remove it or leave it out."
        ) from error


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
