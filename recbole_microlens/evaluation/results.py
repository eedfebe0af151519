"""Reads the ``result.json`` of runs: each value of the type it must have, or an error that names it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from recbole_microlens.errors import MicroLensError, printable

RESULT = "result.json"
_MOST_BYTES = 1 << 26  # a result with its whole configuration has some kilobytes


def read_result(path: Path) -> dict:
    """What a table needs of a ``result.json``: ``dataset``, ``model``, ``folder``, ``test_result``,
    ``epoch_times_s``, ``config``, ``groups`` (metrics of each group of targets), ``cost``, ``train_losses``,
    ``valid_results`` (by epoch), ``best_valid_result``, ``dataset_fingerprint`` and ``resumes``.

    Runs of earlier versions have no groups, cost or losses, some no ``config``: these are then empty. Texts
    are printable.

    Raises
    ------
    MicroLensError
        The file is not JSON, a value is missing or of another type, or a metric is not a finite number.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size:,} bytes")
        result = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(result, dict):
            raise ValueError(f"a {type(result).__name__} instead of an object")
        groups = _dict(result, "test_result_by_popularity", needed=False)
        return {
            **{key: _text(result, key) for key in ("dataset", "model", "folder")},
            "test_result": _metrics(_dict(result, "test_result"), "test_result"),
            "epoch_times_s": _times(result),
            "config": _dict(result, "config", needed=False),
            "groups": {name: _metrics(groups[name], f"{name} targets") for name in groups},
            "cost": _metrics(_known(_dict(result, "cost", needed=False)), "cost"),
            "dataset_fingerprint": _dict(result, "dataset_fingerprint", needed=False),
            "resumes": _value(result, "resumes", list, needed=False),
            "best_valid_result": _metrics(_dict(result, "best_valid_result", needed=False), "validation"),
            "train_losses": _numbers(result, "train_losses"),
            "valid_results": [
                _metrics(each, "valid_results") for each in _value(result, "valid_results", list, False)
            ],
        }
    except (OSError, ValueError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}" if isinstance(error, RecursionError) else error
        raise MicroLensError(
            f"{path} is not the result of a run ({said}). Remove it or leave it out."
        ) from error


def _value(result: dict, key: str, kind: type, needed: bool = True):
    value = result.get(key)
    if value is None and not needed:
        return kind()
    if not isinstance(value, kind):
        raise ValueError(f"{key} is {_shown(value)}" if key in result else f"no {key!r}")
    return value


def _text(result: dict, key: str) -> str:
    return printable(_value(result, key, str))


def _dict(result: dict, key: str, needed: bool = True) -> dict:
    return _value(result, key, dict, needed)


def _metrics(values: object, where: str) -> dict[str, float]:
    if not isinstance(values, dict):
        raise ValueError(f"{where} is {_shown(values)}")
    for name, value in values.items():
        if not _is_number(value):
            raise ValueError(f"{where}: {name} is {_shown(value)}, not a finite number")
    return {printable(name): value for name, value in values.items()}


def _known(values: dict) -> dict:
    return {name: value for name, value in values.items() if value is not None}


def _numbers(result: dict, key: str) -> list[float]:
    values = _value(result, key, list, needed=False)
    if not all(map(_is_number, values)):
        raise ValueError(f"{key} holds something that is not a finite number")
    return values


def _times(result: dict) -> list[float]:
    times = _value(result, "epoch_times_s", list)
    if not all(_is_number(seconds) and seconds >= 0 for seconds in times):
        raise ValueError("epoch_times_s holds something that is not a time")
    return times


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
