"""Full ranking in two steps: rows of top-k hits, a row a user, then RecBole's metrics over all rows."""

from __future__ import annotations

from logging import getLogger

from recbole.evaluator.collector import Collector, DataStruct
from recbole.evaluator.register import metric_information
from torch import Tensor

from recbole_microlens import distributed
from recbole_microlens.evaluation.groups import TargetGroups, training_counts
from recbole_microlens.evaluation.growing_rows import GrowingRows
from recbole_microlens.evaluation.ranks import RankCollector, Ranks
from recbole_microlens.evaluation.top_items import hit_rows, top_items

_ROWS = ("rec.items", "rec.topk")


class HitsCollector(Collector):
    """RecBole's collector that keeps hits without a dense [users, items] matrix of the positives.

    Each batch of scores becomes rows, as small as the longest cut-off; :meth:`rows` joins them, and RecBole's
    ``Evaluator`` computes the metrics from these. The rows are those of RecBole's own collector, bit by bit.
    A metric that needs more than the top items (GAUC needs every rank) takes RecBole's way.

    Attributes
    ----------
    groups : TargetGroups | None
        The hits on unseen, rare and frequent targets; set once the training data were counted.
    keeps_ranks : bool
        Whether the rank of every target is kept, too; see :meth:`ranks`.
    """

    def __init__(self, config):
        super().__init__(config)
        self._batches: dict[str, GrowingRows] = {}
        self.groups: TargetGroups | None = None
        self.keeps_ranks = False
        self._ranks: RankCollector | None = None
        dense = [metric for metric in self.register.metrics if not _needs_top_items_only(metric)]
        self._as_recbole = bool(dense)
        if dense and "full" in config["eval_args"]["mode"].values():
            getLogger().warning(
                f"metrics: {', '.join(dense)} needs all scores, not only the top items: evaluation uses "
                "RecBole's slower code"
            )

    def data_collect(self, train_data) -> None:
        super().data_collect(train_data)
        counts = training_counts(train_data._dataset)
        self.groups = TargetGroups(counts)
        self._ranks = RankCollector(train_data._dataset, counts)

    def eval_batch_collect(self, scores_tensor, interaction, positive_u, positive_i) -> None:
        """Keep the rows of a batch.

        Parameters
        ----------
        scores_tensor : Tensor [B, n_items]
            Minus infinity where an item must not be recommended.
        interaction : Interaction
            The batch, RecBole's.
        positive_u, positive_i : Tensor [P], int64
            The positives as (row of the batch, item) pairs.
        """
        top = None
        if self._as_recbole:
            super().eval_batch_collect(scores_tensor, interaction, positive_u, positive_i)
        else:
            top = top_items(scores_tensor, max(self.topk))  # [B, k]
            self._keep_rows(top, positive_u, positive_i)
        if self.keeps_ranks and self._ranks:
            top = scores_tensor.topk(max(self.topk)).indices if top is None else top
            self._ranks.collect(scores_tensor, top, interaction, positive_u, positive_i)

    def _keep_rows(self, top: Tensor, positive_u: Tensor, positive_i: Tensor) -> None:
        if self.register.need("rec.items"):
            self._batches.setdefault("rec.items", GrowingRows()).append(top)
        if self.register.need("rec.topk"):
            hits = hit_rows(top, positive_u.to(top.device), positive_i.to(top.device))
            self._batches.setdefault("rec.topk", GrowingRows()).append(hits)
        if self.groups:
            self.groups.collect(top, positive_u, positive_i)

    def rows(self) -> dict[str, Tensor]:
        """The rows of all batches since the last call, of all processes, on the CPU.

        Returns
        -------
        dict[str, Tensor]
            ``rec.topk`` [users, k + 1] int64, see :func:`hit_rows`, and ``rec.items`` [users, k] int64, the
            top items; each only where a metric needs it. What RecBole's way collects, where a metric goes
            that way.
        """
        rows = {name: batches.joined() for name, batches in self._batches.items()}
        self._batches = {}
        for name in [name for name in self.data_struct._data_dict if _is_of_a_batch(name)]:
            rows[name] = self.data_struct.get(name)
            del self.data_struct[name]
        return {name: distributed.all_gather_rows(tensor).cpu() for name, tensor in rows.items()}

    def ranks(self) -> Ranks | None:
        """The ranks of all targets since the last call, of all processes; ``None`` where none were kept."""
        return self._ranks.ranks() if self._ranks else None

    def get_data_struct(self) -> DataStruct:
        """What RecBole's ``Evaluator`` computes metrics from: the rows, and counts of the training data."""
        rows = self.rows()
        struct = DataStruct()
        for name, value in (self.data_struct._data_dict | rows).items():
            struct.set(name, value)
        return struct


def _needs_top_items_only(metric: str) -> bool:
    return all(need in _ROWS for need in metric_information[metric] if _is_of_a_batch(need))


def _is_of_a_batch(need: str) -> bool:
    return need.startswith("rec.") or need == "data.label"
