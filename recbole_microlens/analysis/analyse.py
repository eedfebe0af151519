"""Several runs on one test: metrics by group of targets, and what their lists are like."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from recbole_microlens.analysis.lists import ListQuality, list_quality
from recbole_microlens.analysis.runs import Run, ranks_of_same_test
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.list_metrics import metric_of_lists
from recbole_microlens.evaluation.ranks import Ranks
from recbole_microlens.evaluation.target_groups import (
    Group,
    equal_groups,
    metric_by_group,
    popularity_groups,
    ratios,
)
from recbole_microlens.evaluation.tested_on import tested_on

GROUPS = 5


@dataclass(frozen=True)
class Grouping:
    """A metric of each run by group of targets.

    Attributes
    ----------
    by : str
        What targets are grouped by, in words.
    labels : list[str]
        Of the groups, from low to high.
    targets : list[int]
        How many targets are in each.
    values : dict[str, list[float | None]]
        By run, the metric of each group.
    """

    by: str
    labels: list[str]
    targets: list[int]
    values: dict[str, list[float | None]]

    def ratios(self) -> dict[str, list[float | None]]:
        """Of every run but the first, each group's metric by that of the first."""
        (_, baseline), *others = self.values.items()
        return {label: ratios(values, baseline) for label, values in others}


@dataclass(frozen=True)
class Analysis:
    """What :func:`analyse` finds.

    Attributes
    ----------
    metric : str
        Of single lists, ``hit@10``.
    dataset : str
    tested_on : str
        What the test targets are, where they are not a user's last interactions.
    runs : dict[str, str]
        The folder of each run, by label; the first is what others are compared with.
    overall : dict[str, float]
        The metric over all targets.
    by_popularity, by_history : Grouping | None
        ``None`` where no run knows the histories' lengths.
    lists : dict[str, ListQuality]
        By run; empty where no model was asked.
    """

    metric: str
    dataset: str
    tested_on: str
    runs: dict[str, str]
    overall: dict[str, float]
    by_popularity: Grouping
    by_history: Grouping | None
    lists: dict[str, ListQuality] = field(default_factory=dict)

    def to_dict(self) -> dict:
        """Plain dicts, lists and numbers, ready for JSON."""
        groupings = {"by_popularity": self.by_popularity, "by_history": self.by_history}
        return {
            **asdict(self),
            **{
                name: {**asdict(each), "ratios": each.ratios()} if each else None
                for name, each in groupings.items()
            },
        }


def analyse(runs: list[Run], metric: str = "hit@10", groups: int = GROUPS, lists: bool = True) -> Analysis:
    """Look at runs on one test beyond their averages.

    Parameters
    ----------
    runs : list[Run]
        The first is what the others are compared with.
    metric : str, default 'hit@10'
        A metric of single lists; lists are as long as its cut-off.
    groups : int, default 5
        Groups of targets, see :func:`~recbole_microlens.evaluation.target_groups.popularity_groups`.
    lists : bool, default True
        Whether each model is loaded and ranks its test once more.

    Raises
    ------
    MicroLensError
        A run has no ranks, or was tested on other targets; a model cannot be loaded; or there is no such
        metric.
    """
    if groups < 2:
        raise MicroLensError(f"groups: {groups} is fewer than two. Give a number of at least 2.")
    ranks = dict(zip((run.label for run in runs), ranks_of_same_test(runs), strict=True))
    overall = {label: float(metric_of_lists(own, metric).mean()) for label, own in ranks.items()}
    any_ranks = next(iter(ranks.values()))
    history = next((own.history_length for own in ranks.values() if (own.history_length >= 0).all()), None)
    return Analysis(
        metric=metric.lower(),
        dataset=runs[0].result["dataset"],
        tested_on=tested_on(runs[0].result["config"]),
        runs={run.label: str(run.path) for run in runs},
        overall=overall,
        by_popularity=_grouping(
            "training interactions of the target's item",
            popularity_groups(any_ranks.train_count, groups),
            ranks,
            metric,
        ),
        by_history=None
        if history is None
        else _grouping("interactions before the target", equal_groups(history, groups), ranks, metric),
        lists={run.label: list_quality(run.path, int(metric.partition("@")[2])) for run in runs if lists},
    )


def _grouping(by: str, groups: list[Group], ranks: dict[str, Ranks], metric: str) -> Grouping:
    return Grouping(
        by=by,
        labels=[group.label for group in groups],
        targets=[len(group) for group in groups],
        values={label: metric_by_group(own, groups, metric) for label, own in ranks.items()},
    )
