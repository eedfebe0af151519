"""Finished runs, opened side by side: their results, the ranks of their targets, and that both belong
together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.compare import results_below
from recbole_microlens.evaluation.ranks import Ranks, read_ranks
from recbole_microlens.evaluation.target_groups import subset
from recbole_microlens.evaluation.tested_on import tested_on

# What decides which targets there are, and among which items they are ranked.
_PROTOCOL = (
    *("protocol", "cold_cut", "min_item_interactions", "user_inter_num_interval", "item_inter_num_interval"),
    *("max_user_interactions", "eval_args", "mask_history", "test_users"),
)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes
    ----------
    label : str
        The model, with the run's number where several are of one model.
    result : dict
        As :func:`~recbole_microlens.evaluation.results.read_result` gives it, with ``number`` and ``path``.
    """

    label: str
    result: dict

    @property
    def path(self) -> Path:
        """The folder that was read, wherever the run took place."""
        return self.result["path"]


def open_runs(folders: list[Path]) -> list[Run]:
    """The runs in folders, or below them.

    Raises
    ------
    MicroLensError
        No finished run is below a folder, or a ``result.json`` is damaged.
    """
    results = results_below(folders)
    often = Counter(result["model"] for result in results)
    return [
        Run(each["model"] if often[each["model"]] == 1 else f"{each['model']} #{each['number']}", each)
        for each in results
    ]


def ranks_of_same_test(runs: list[Run]) -> list[Ranks]:
    """The ranks of each run, all in one order of targets.

    Raises
    ------
    MicroLensError
        A run has no ranks, or they are damaged; or two runs were tested on other targets: of another dataset,
        or under another protocol.
    """
    first, *others = runs
    for run in others:
        if run.result["dataset"] != first.result["dataset"]:
            raise MicroLensError(
                f"{first.path} is a run on {first.result['dataset']}, {run.path} one on "
                f"{run.result['dataset']}: give runs on one dataset."
            )
    ranks = [_in_order(read_ranks(run.path)) for run in runs]
    for run, own in zip(others, ranks[1:], strict=True):
        tests = [tested_on(each.result["config"]) for each in (first, run)]
        if tests[0] != tests[1] or not _same_targets(ranks[0], own):
            raise MicroLensError(
                f"{first.path} and {run.path} were not tested on the same targets{_why(first, run)}. Give "
                "runs of one dataset and one protocol."
            )
    return ranks


def _in_order(ranks: Ranks) -> Ranks:
    """Models rank users in orders of their own."""
    order = np.lexsort((ranks.item, ranks.user))
    return subset(ranks, order)


def _same_targets(one: Ranks, other: Ranks) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("user", "item", "train_count")
    )


def _why(one: Run, other: Run) -> str:
    ours, theirs = ({"protocol": "microlens"} | run.result["config"] for run in (one, other))
    keys = [key for key in _PROTOCOL if ours.get(key) != theirs.get(key)]
    said = [f"{key} is {ours.get(key)} and {theirs.get(key)}" for key in keys]
    return f": {'; '.join(said)}" if said else ": their datasets have one name and other interactions"
