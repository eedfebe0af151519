"""The ranges of a search, in the format of RecBole's parameter files.

A line for each setting: its name, a kind, and what the kind takes::

    learning_rate choice [1e-3, 1e-4]
    hidden_dropout_prob uniform 0.0,0.5
    hidden_size quniform 32,128,32
    weight_decay loguniform -8,0

``loguniform`` has the logarithms of its bounds, as there: e to the power of -8 up to 1.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_microlens.config.schema import check, check_keys
from recbole_microlens.errors import MicroLensError, did_you_mean, printable

_NUMBERS = {"uniform": 2, "quniform": 3, "loguniform": 2}
KINDS = ("choice", *_NUMBERS)
_LARGEST_FILE = 1 << 18


@dataclass(frozen=True)
class Parameter:
    """A setting that is searched.

    Attributes
    ----------
    name : str
        Of the setting.
    kind : str
        One of :data:`KINDS`.
    values : list
        The choices; or low and high, and the step of ``quniform``.
    """

    name: str
    kind: str
    values: list

    def drawn(self, rng: np.random.Generator) -> Any:
        """A random value."""
        if self.kind == "choice":
            return self.values[rng.integers(len(self.values))]
        low, high, *step = self.values
        return self.of(rng.uniform(low, high), *step)

    def of(self, value: float, step: float | None = None) -> float | int:
        """The setting for a place between the bounds."""
        if self.kind == "loguniform":
            return float(f"{math.exp(value):.6g}")
        if step is None:
            return float(f"{value:.6g}")
        rounded = round(value / step) * step
        is_whole = all(float(each).is_integer() for each in self.values)
        return int(rounded) if is_whole else float(f"{rounded:.6g}")


def read_parameters(path: Path) -> list[Parameter]:
    """The ranges in a file.

    Raises
    ------
    MicroLensError
        The file cannot be read, or a line is not of the format, or names no setting; with its number.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise MicroLensError(f"--params: {path} is larger than 256 KiB. Give a file of ranges.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise MicroLensError(f"--params: {path} is not text in UTF-8 ({error}).") from error
    found: dict[str, Parameter] = {}
    for number, line in enumerate(lines, 1):
        text = line.split("#")[0].strip()
        if text:
            parameter = _parameter(text, f"{path}, line {number}")
            if parameter.name in found:
                raise MicroLensError(f"{path}, line {number}: {parameter.name} has a line already. Keep one.")
            found[parameter.name] = parameter
    if not found:
        raise MicroLensError(f"--params: {path} has no ranges. A line is: learning_rate choice [1e-3, 1e-4]")
    return list(found.values())


def _parameter(text: str, where: str) -> Parameter:
    name, kind, values = (text.split(maxsplit=2) + ["", ""])[:3]
    if kind not in KINDS:
        raise MicroLensError(
            f"{where}: {printable(kind)!r} is no kind of range.{did_you_mean(kind, KINDS)} There are "
            f"{', '.join(KINDS)}, as in: learning_rate choice [1e-3, 1e-4]"
        )
    try:
        check_keys({name: None})
        if name in ("model", "dataset", "checkpoint_dir", "seed"):
            raise MicroLensError(f"{name} is not searched. Give it as an option.")
        found = _choices(values) if kind == "choice" else _numbers(kind, values)
        for value in found if kind == "choice" else ():
            check({name: value})
    except (MicroLensError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise MicroLensError(f"{where}: {printable(error)}") from error
    return Parameter(name, kind, found)


def _choices(text: str) -> list:
    values = ast.literal_eval(text)
    if not isinstance(values, list) or not values:
        raise ValueError(f"{text} is not a list of values such as [1e-3, 1e-4]")
    return values


def _numbers(kind: str, text: str) -> list[float]:
    values = [float(word) for word in text.split(",")]
    if len(values) != _NUMBERS[kind] or not all(map(math.isfinite, values)):
        raise ValueError(f"{kind} takes {'low,high,step' if kind == 'quniform' else 'low,high'}, not {text}")
    if values[0] >= values[1] or (kind == "quniform" and values[2] <= 0):
        raise ValueError(f"{kind} {text}: low must be below high, and a step above 0")
    if kind == "loguniform" and values[1] > 700:
        raise ValueError(
            f"{kind} {text}: bounds are logarithms, and e to the power of {values[1]} is too large"
        )
    return values
