"""Metrics of groups of test targets, by how popular their item is and by how long the user's history is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_microlens.evaluation.list_metrics import metric_of_lists
from recbole_microlens.evaluation.ranks import Ranks


@dataclass(frozen=True)
class Group:
    """Some of the targets of a test.

    Attributes
    ----------
    label : str
        The range of what they are grouped by: ``5-12``, or ``0``.
    members : np.ndarray [targets], bool
        Which they are.
    """

    label: str
    members: np.ndarray

    def __len__(self) -> int:
        return int(self.members.sum())


def popularity_groups(train_count: np.ndarray, number: int) -> list[Group]:
    """Targets never seen in training, if there are any, then :func:`equal_groups` of the others.

    Parameters
    ----------
    train_count : np.ndarray [targets], int
        Training interactions of each target's item.
    """
    unseen = train_count == 0
    groups = [Group("0", unseen)] if unseen.any() else []
    if unseen.all():
        return groups
    seen = equal_groups(train_count[~unseen], number)
    return groups + [Group(each.label, _among(~unseen, each.members)) for each in seen]


def equal_groups(values: np.ndarray, number: int) -> list[Group]:
    """Groups from low to high values, of as nearly equal size as ties allow: equal values are in one group.

    Parameters
    ----------
    values : np.ndarray [targets], int
    number : int
        How many groups at most; there are fewer where ties leave some empty.
    """
    distinct, place, count = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    group_of_value = np.minimum((middle * number / len(values)).astype(int), number - 1)
    groups = []
    for group in np.unique(group_of_value):
        inside = distinct[group_of_value == group]
        low, high = inside[0], inside[-1]
        label = f"{low:,}" if low == high else f"{low:,}-{high:,}"
        groups.append(Group(label, group_of_value[place] == group))
    return groups


def metric_by_group(ranks: Ranks, groups: list[Group], metric: str) -> list[float | None]:
    """The mean of a metric over the lists that have a target of each group, which alone counts in them; as
    the groups of a run's result. ``None`` for a group without targets.
    """
    return [
        float(metric_of_lists(subset(ranks, g.members), metric).mean()) if len(g) else None for g in groups
    ]


def ratios(values: list[float | None], baseline: list[float | None]) -> list[float | None]:
    """Each value by the baseline's; ``None`` where that is nothing, or there is none."""
    return [
        value / base if value is not None and base else None
        for value, base in zip(values, baseline, strict=True)
    ]


def subset(ranks: Ranks, members: np.ndarray) -> Ranks:
    """Some of the targets."""
    return Ranks(**{name: column[members] for name, column in vars(ranks).items()})


def _among(where: np.ndarray, members: np.ndarray) -> np.ndarray:
    whole = np.zeros(len(where), dtype=bool)
    whole[where] = members
    return whole
