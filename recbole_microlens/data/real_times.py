"""When each interaction really took place: the ``.time`` file beside ``.inter``, or its own timestamps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recbole_microlens.errors import MicroLensError, first_line
from recbole_microlens.release.atomic_check import check_atomic
from recbole_microlens.release.rows import quoted
from recbole_microlens.release.times import as_date, in_microseconds, unit_of

_COLUMNS = {"user_id:token": str, "item_id:token": str, "time_ms:float": np.float64}
_TOO_LARGE = 2.0**63


class NoTimes(MicroLensError):
    """The data do not say when interactions took place."""


def real_times(inter: Path, users: np.ndarray, items: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Times that can be compared between users.

    What ``convert`` writes has positions as timestamps and the times in ``.time``, row by row. Without that
    file the timestamps themselves are taken, unless each user's begin with the same number: then they are
    positions, or count from each user's own start.

    Parameters
    ----------
    inter : Path
        The ``.inter`` file.
    users, items, timestamps : np.ndarray [N]
        Its columns, in the order of its rows.

    Returns
    -------
    np.ndarray [N], float64
        Epoch milliseconds from ``.time``, otherwise in the unit of the timestamps.

    Raises
    ------
    NoTimes
        There are no such times.
    MicroLensError
        ``.time`` is of other rows, or has another order of a user's interactions.
    """
    path = inter.with_suffix(".time")
    if path.is_file():
        times = _read(path, inter, users, items)
        _require_same_order(path, inter, users, timestamps, times)
        return times
    if _begin_alike(users, timestamps):
        raise NoTimes(
            f"{inter}: its timestamps begin with the same number for every user, as positions do, and there "
            f"is no {path.name} beside it. Convert the release again from a pairs file with times, or put "
            "times such as epoch milliseconds into the column."
        )
    return timestamps.astype(np.float64)


def in_words(time: float) -> str:
    """A time as a date, if it is the size of an epoch's; otherwise the number."""
    if 0 <= time < _TOO_LARGE and unit_of(time).is_date:
        return as_date(int(in_microseconds(np.array([int(time)]), unit_of(time))[0]))
    return f"{time:.15g}"


def _begin_alike(users: np.ndarray, timestamps: np.ndarray) -> bool:
    """Whether numbers that are no dates are not comparable between users, as far as they tell."""
    first = pd.Series(timestamps).groupby(users).min()
    is_date = first.min() >= 0 and unit_of(first.min()).is_date
    return not is_date and first.nunique() == 1


def _read(path: Path, inter: Path, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    check_atomic(path, ids=("user_id", "item_id"), times=("time_ms",))
    try:
        table = pd.read_csv(
            path, sep="\t", usecols=list(_COLUMNS), dtype=_COLUMNS, keep_default_na=False, encoding="utf-8"
        )
    except ValueError as error:
        raise MicroLensError(
            f"{path} cannot be read ({first_line(error)}): its columns should be {', '.join(_COLUMNS)}. "
            "Convert the release again."
        ) from error
    if len(table) != len(users):
        raise MicroLensError(
            f"{path} has {len(table):,} rows and {inter.name} has {len(users):,}: they are of two "
            "conversions. Convert the release again."
        )
    found = [table[column].to_numpy() for column in list(_COLUMNS)[:2]]
    differs = (found[0] != users) | (found[1] != items)
    if differs.any():
        row = int(differs.argmax())
        pairs = [f"{quoted(str(u[row]))}, {quoted(str(i[row]))}" for u, i in (found, (users, items))]
        raise MicroLensError(
            f"{path}: row {row + 1} is of user and item {pairs[0]}, in {inter.name} of {pairs[1]}: they are "
            "of two conversions. Convert the release again."
        )
    return table["time_ms:float"].to_numpy()


def _require_same_order(path: Path, inter: Path, users, timestamps, times) -> None:
    """Raise where a user's later interaction, by timestamp, took place earlier."""
    order = np.lexsort((times, timestamps, pd.factorize(users)[0]))
    same_user = users[order][1:] == users[order][:-1]
    back = same_user & (np.diff(times[order]) < 0)
    if back.any():
        user = users[order][1:][back][0]
        raise MicroLensError(
            f"{path}: the interactions of user {quoted(str(user))} have another order than the timestamps of "
            f"{inter.name}. Convert the release again."
        )
