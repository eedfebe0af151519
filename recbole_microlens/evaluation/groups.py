"""Metrics on targets by how often their item occurs in the training data: unseen, rare, and frequent ones."""

from __future__ import annotations

from copy import copy

import torch
from recbole.evaluator.collector import DataStruct
from recbole.evaluator.evaluator import Evaluator
from recbole.evaluator.register import metric_information
from torch import Tensor

from recbole_microlens import distributed
from recbole_microlens.evaluation.growing_rows import GrowingRows
from recbole_microlens.evaluation.top_items import hit_rows

RARE_AT_MOST = 3
# By name, the least and the most training interactions of a target's item. Unseen targets are rare ones, too.
GROUPS: dict[str, tuple[int, float]] = {
    "unseen": (0, 0),
    "rare": (0, RARE_AT_MOST),
    "frequent": (RARE_AT_MOST + 1, float("inf")),
}


def training_counts(train) -> Tensor:
    """Training interactions of each item, [n_items] int64, of a training dataset of any model."""
    if hasattr(train, "popularity"):
        return train.popularity
    if hasattr(train, "train_counts"):
        return train.train_counts(train.inter_feat)
    return torch.bincount(train.inter_feat[train.iid_field], minlength=train.item_num)


class TargetGroups:
    """Collects the hits of each group while users are ranked, and gives RecBole's metrics of them.

    Parameters
    ----------
    counts : Tensor
        Training interactions of each item, [n_items] int64.
    """

    def __init__(self, counts: Tensor):
        self._members = {name: (counts >= least) & (counts <= most) for name, (least, most) in GROUPS.items()}
        self._batches = {name: GrowingRows() for name in GROUPS}

    def collect(self, top: Tensor, positive_u: Tensor, positive_i: Tensor) -> None:
        """Keep the hits of a batch, of each user those on targets of a group.

        Parameters
        ----------
        top : Tensor [B, k], int64
            A user's top items, best first.
        positive_u, positive_i : Tensor [P], int64
            The targets as (row of the batch, item) pairs.
        """
        for name, members in self._members.items():
            is_member = members.to(positive_i.device)[positive_i]
            rows = hit_rows(top, positive_u[is_member].to(top.device), positive_i[is_member].to(top.device))
            self._batches[name].append(rows[rows[:, -1] > 0].cpu())

    def results(self, evaluator: Evaluator) -> dict[str, dict[str, float]]:
        """The metrics of each group over all batches since the last call, of all processes.

        Returns
        -------
        dict[str, dict[str, float]]
            By group, ``targets`` and, unless it is 0, the evaluator's metrics by name, over the users who
            have such a target; metrics that need more than hits are left out. Empty if nothing was collected.
        """
        batches, self._batches = self._batches, {name: GrowingRows() for name in GROUPS}
        if not all(batches.values()):
            return {}
        of_hits = copy(evaluator)
        of_hits.metrics = [name for name in evaluator.metrics if metric_information[name] == ["rec.topk"]]
        return {name: _metrics(rows.joined(), of_hits) for name, rows in batches.items()}


def _metrics(rows: Tensor, evaluator: Evaluator) -> dict[str, float]:
    rows = distributed.all_gather_rows(rows)
    targets: dict[str, float] = {"targets": int(rows[:, -1].sum())}
    if not len(rows):
        return targets
    struct = DataStruct()
    struct.set("rec.topk", rows)
    # RecBole's own: ours also computes the metric that validation goes by, which may need more than hits.
    return targets | dict(Evaluator.evaluate(evaluator, struct))
