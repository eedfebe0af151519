"""Outcomes as one table: mean and deviation over seeds, the paper's figures, and tests over users."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import mean, stdev

import numpy as np

from recbole_microlens.comparison.cells import Row
from recbole_microlens.comparison.comparability import compared_with_paper
from recbole_microlens.comparison.runner import Outcome
from recbole_microlens.errors import MicroLensError, did_you_mean
from recbole_microlens.evaluation.compare import training_of
from recbole_microlens.evaluation.list_metrics import metric_of_lists
from recbole_microlens.evaluation.ranks import Ranks, read_ranks
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.evaluation.significance import holm, sign_flip_test
from recbole_microlens.evaluation.tested_on import tested_on

GROUPS = ("rare", "unseen")
_OF_THE_PROTOCOL = (
    "eval_args",
    "item_inter_num_interval",
    "mask_history",
    "max_user_interactions",
    "min_item_interactions",
    "test_users",
    "user_inter_num_interval",
)


@dataclass(frozen=True)
class Value:
    """A metric over seeds."""

    mean: float
    deviation: float | None
    seeds: int

    @classmethod
    def of(cls, values: list[float]) -> Value | None:
        if not values:
            return None
        return cls(mean(values), stdev(values) if len(values) > 1 else None, len(values))


@dataclass
class Line:
    """A row of the table with what its runs gave.

    Attributes
    ----------
    row : Row
    results : list of dict
        Of its finished runs.
    failures : list of str
        Why the others failed.
    metrics : dict[str, Value]
        By name; those on groups of targets under ``rare hit@10`` and so on.
    training, paper_note : str
        Whose training it is, and whether the paper's figures may be held against these.
    tested_on : str
        What the test targets are, where they are not a user's last interactions.
    difference, p_value : float or None
        Against the baseline, the latter after Holm's correction.
    """

    row: Row
    results: list[dict]
    failures: list[str]
    metrics: dict[str, Value] = field(default_factory=dict)
    training: str = "?"
    paper_note: str = ""
    tested_on: str = ""
    difference: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Table:
    """All lines, and what they have in common.

    Attributes
    ----------
    title : str
    lines : list of Line
    metrics : list of str
        Names of the metrics on all targets, the order of columns.
    group_metrics : list of str
        Those on rare and unseen targets.
    tested : str
        The metric that was tested, or empty.
    baseline : str
        The row that the others were tested against, or empty.
    """

    title: str
    lines: list[Line]
    metrics: list[str]
    group_metrics: list[str]
    tested: str = ""
    baseline: str = ""

    @property
    def is_mixed(self) -> bool:
        """Whether its lines were tested on different things, so that their metrics are not to be compared."""
        return len(_tests(self.lines)) > 1


def make_table(
    title: str,
    outcomes: list[Outcome],
    metric: str | None,
    baseline: str | None,
    by_validation: bool = False,
) -> Table:
    """The table of the outcomes of all cells.

    Parameters
    ----------
    title : str
    outcomes : list of Outcome
        The cells of a row are neighbours.
    metric : str, optional
        The one that is tested; the first that all have by default.
    baseline : str, optional
        Label or model of the row that the others are tested against.
    by_validation : bool, default False
        Whether the lines are sorted by the metric that validation goes by, which is then a column.

    Raises
    ------
    MicroLensError
        There is no such row or metric; or the runs cannot be tested against each other.
    """
    lines = [_line(row, outcomes) for row in dict.fromkeys(_Key(outcome.cell.row) for outcome in outcomes)]
    if by_validation:
        lines = _sorted_by_validation(lines)
    names = list(dict.fromkeys(name for line in lines for name in line.metrics))
    groups = [name for name in names if name.split(" ")[0] in GROUPS]
    tests = _tests(lines)
    if len(tests) == 1 and tests[0]:
        title = f"{title}: {tests[0]}"
    table = Table(title, lines, [name for name in names if name not in groups], groups)
    if baseline is None:
        return table
    row = baseline_row([line.row for line in lines], baseline)
    tested = metric or next((name for name in ("hit@10", *table.metrics) if name in table.metrics), "")
    _test(lines, row, tested.lower())
    return Table(title, lines, table.metrics, groups, tested.lower(), row.label)


def _tests(lines: list[Line]) -> list[str]:
    """What the lines with results were tested on, each once."""
    return list(dict.fromkeys(line.tested_on for line in lines if line.results))


class _Key:
    """A row as a key: its settings are a dict, which has no hash."""

    def __init__(self, row: Row):
        self.row = row

    def __eq__(self, other):
        return self.row == other.row

    def __hash__(self):
        return hash((self.row.label, self.row.model))


def baseline_row(rows: list[Row], name: str) -> Row:
    """The row that a user means by its label or its model.

    Raises
    ------
    MicroLensError
        There is none.
    """
    for known in ({row.label: row for row in rows}, {row.model: row for row in reversed(rows)}):
        if name in known:
            return known[name]
    labels = [row.label for row in rows] + [row.model for row in rows]
    raise MicroLensError(
        f"--baseline: the table has no row {name!r}.{did_you_mean(name, labels)} It has "
        f"{', '.join(dict.fromkeys(row.label for row in rows))}."
    )


def _line(key: _Key, outcomes: list[Outcome]) -> Line:
    row = key.row
    own = [outcome for outcome in outcomes if outcome.cell.row == row]
    results = [read_result(o.folder / RESULT) | {"path": o.folder} for o in own if o.folder is not None]
    line = Line(row, results, [outcome.reason for outcome in own if outcome.folder is None])
    if not results:
        return line
    line.training = training_of(results[0]["config"])
    line.tested_on = tested_on(results[0]["config"])
    line.paper_note = compared_with_paper(row, results[0]) if row.paper else ""
    for name in results[0]["test_result"]:
        _put(line, name, [result["test_result"].get(name) for result in results])
    first = next(iter(results[0]["test_result"]), "")
    for group in () if line.tested_on else GROUPS:  # cold items are all unseen
        _put(line, f"{group} {first}", [result["groups"].get(group, {}).get(first) for result in results])
    return line


def _sorted_by_validation(lines: list[Line]) -> list[Line]:
    finished = [line for line in lines if line.results]
    if not finished:
        return lines
    config = finished[0].results[0]["config"]
    name = str(config.get("valid_metric", "")).lower()
    for line in finished:
        own, line.metrics = line.metrics, {}
        _put(line, f"valid {name}", [result["best_valid_result"].get(name) for result in line.results])
        line.metrics |= own

    def score(line: Line) -> float:
        value = line.metrics.get(f"valid {name}")
        sign = -1 if config.get("valid_metric_bigger", True) else 1
        return float("inf") if value is None else sign * value.mean

    return sorted(lines, key=score)


def _put(line: Line, name: str, values: list[float | None]) -> None:
    value = Value.of([value for value in values if value is not None])
    if value is not None:
        line.metrics[name] = value


def _test(lines: list[Line], baseline: Row, metric: str) -> None:
    """Test each line with results against the baseline, over users; of several seeds, the users' means."""
    finished = [line for line in lines if line.results]
    base = next((line for line in finished if line.row == baseline), None)
    if base is None:
        return
    others = [line for line in finished if line is not base]
    own = _users_metric(base, metric)
    differences = [_difference(_users_metric(line, metric), own, line, base) for line in others]
    corrected = holm([sign_flip_test(difference) for difference in differences])
    for line, difference, p_value in zip(others, differences, corrected, strict=True):
        line.difference, line.p_value = float(difference.mean()), p_value


def _users_metric(line: Line, metric: str) -> dict[str, float]:
    """The metric of each list, by user and targets, the mean over seeds."""
    sums: dict[str, list[float]] = {}
    for result in line.results:
        ranks = _whole_ranks(result, metric)
        for key, value in zip(_keys(ranks), metric_of_lists(ranks, metric), strict=True):
            sums.setdefault(key, []).append(value)
    return {key: mean(values) for key, values in sums.items()}


def _keys(ranks: Ranks) -> list[str]:
    """A key of each list: user, and its targets."""
    _, starts = np.unique(ranks.row, return_index=True)
    items = np.split(ranks.item, starts[1:])
    return [f"{user}\t" + "\t".join(sorted(own)) for user, own in zip(ranks.user[starts], items, strict=True)]


def _whole_ranks(result: dict, metric: str) -> Ranks:
    """The ranks of a run, once it is sure that its reported metric follows from them."""
    ranks = read_ranks(result["path"])
    reported = result["test_result"].get(metric)
    if reported is None:
        raise MicroLensError(
            f"--metric: {result['path']} has no {metric}. It has {', '.join(result['test_result'])}."
        )
    found = metric_of_lists(ranks, metric).mean()
    places = int(result["config"].get("metric_decimal_place", 4))
    if abs(found - reported) > 0.51 * 10**-places + 1e-9:
        raise MicroLensError(
            f"{result['path']}: its ranks give {metric} {found:.6f}, its result says {reported}: they are of "
            "two evaluations. Remove the folder and run the model again."
        )
    return ranks


def _difference(of_line: dict, of_base: dict, line: Line, base: Line) -> np.ndarray:
    why_not = _why_not(line.results[0], base.results[0], of_line, of_base)
    if why_not:
        raise MicroLensError(
            f"{line.row.label} and {base.row.label} cannot be tested against each other: {why_not}. Compare "
            "runs of one dataset and protocol, or leave out --baseline."
        )
    return np.array([of_line[key] - of_base[key] for key in of_base])


def _why_not(one: dict, other: dict, of_one: dict, of_other: dict) -> str:
    """Why two runs cannot be tested against each other; empty if they can."""
    if one["dataset"] != other["dataset"]:
        return f"their datasets are {one['dataset']} and {other['dataset']}"
    for part in ("inter", "time"):
        # Under `protocol: cold` alone a run reads times.
        read = [run["dataset_fingerprint"].get(part) for run in (one, other)]
        if read[0] != read[1] and (part == "inter" or None not in read):
            return f"the interactions of {one['dataset']} have changed between them"
    tests = [tested_on(run["config"]) or "a user's last interaction" for run in (one, other)]
    if tests[0] != tests[1]:
        return f"they were tested on {tests[0]} and on {tests[1]}"
    for key in _OF_THE_PROTOCOL:
        if one["config"].get(key) != other["config"].get(key):
            return f"{key} is {one['config'].get(key)} and {other['config'].get(key)}"
    if of_one.keys() != of_other.keys():
        shared = len(of_one.keys() & of_other.keys())
        return f"of {len(of_one)} and {len(of_other)} test lists {shared} have the same user and targets"
    return ""
