"""The lists that a run's model recommends, summed up while it ranks the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_microlens.evaluation.groups import training_counts
from recbole_microlens.evaluation.list_quality import calibration, coverage, gini, novelty
from recbole_microlens.evaluation.top_items import top_items
from recbole_microlens.quick_start import LoadedRun, load


@dataclass(frozen=True)
class ListQuality:
    """What a model's lists are like, see :mod:`~recbole_microlens.evaluation.list_quality`.

    Attributes
    ----------
    length : int
        Of a list.
    lists : int
        How many.
    coverage, gini, novelty : float
        ``novelty`` in bits.
    slope, correlation : float | None
        Of the mean score over log popularity.
    """

    length: int
    lists: int
    coverage: float
    gini: float
    novelty: float
    slope: float | None
    correlation: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Plain numbers by name."""
        return asdict(self)


def list_quality(folder: Path, length: int) -> ListQuality:
    """Rank the test of a finished run once more, and look at the lists.

    Parameters
    ----------
    folder : Path
        The run's folder; nothing is written to it.
    length : int
        Of a list.

    Raises
    ------
    MicroLensError
        The run cannot be loaded: its checkpoint or its dataset is gone, or damaged.
    """
    with _quiet():
        return _quality_of(load(folder), length)


def _quality_of(loaded: LoadedRun, length: int) -> ListQuality:
    counts = training_counts(loaded.train_data._dataset).cpu().numpy()[1:]
    sums = _Sums(loaded.trainer.eval_collector, len(counts) + 1, min(length, len(counts)))
    loaded.trainer.eval_collector = sums
    loaded.evaluate()
    shown, score = sums.shown.numpy()[1:], sums.mean_scores().numpy()[1:]
    slope, correlation = calibration(score, counts) or (None, None)
    return ListQuality(
        length=sums.length,
        lists=sums.lists,
        coverage=coverage(shown),
        gini=gini(shown),
        novelty=novelty(shown, counts),
        slope=slope,
        correlation=correlation,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """What a run says of its dataset and its model was said when it was trained."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.setLevel(before)


class _Sums:
    """In the place of a collector, which goes on with its own: in how many lists each item is, and the sum of
    its scores, of each user those above or below the user's mean.
    """

    def __init__(self, collector: Any, items: int, length: int):
        self._collector = collector
        self.length = length
        self.lists = 0
        self.shown = torch.zeros(items, dtype=torch.int64)
        self._sum = torch.zeros(items, dtype=torch.float64)
        self._users = torch.zeros(items, dtype=torch.int64)

    def __getattr__(self, name: str):
        return getattr(self._collector, name)

    def eval_batch_collect(self, scores_tensor: Tensor, *args) -> None:
        top = top_items(scores_tensor, self.length)
        self.lists += len(top)
        # A user who has seen nearly everything is recommended less.
        may_be_shown = torch.isfinite(scores_tensor.gather(1, top))
        self.shown += torch.bincount(top[may_be_shown].cpu(), minlength=len(self.shown))
        known = torch.isfinite(scores_tensor)
        plain = torch.where(known, scores_tensor, 0).double()
        mean = plain.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
        self._sum += torch.where(known, plain - mean, 0).sum(0).cpu()
        self._users += known.sum(0).cpu()
        self._collector.eval_batch_collect(scores_tensor, *args)

    def mean_scores(self) -> Tensor:
        """Of each item over the users it was scored for; NaN of one that was scored for none."""
        return self._sum / self._users
