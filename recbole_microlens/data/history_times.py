"""When the interactions of a history took place, for models that read it: a column beside the items."""

# What the mixin inherits is RecBole's, which has no types.
# mypy: disable-error-code="attr-defined, has-type, misc"

from __future__ import annotations

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_microlens.data.real_times import NoTimes
from recbole_microlens.data.sequences import HISTORY_LENGTH, windows
from recbole_microlens.release.times import in_microseconds, unit_of

# The column of a sample, [B, L] int32: seconds since the user's first interaction that is kept.
HISTORY_TIMES = "history_times"
_TIME = "real time of the interaction"  # a column while rows are filtered and sorted; RecBole's have no space
_MOST = np.iinfo(np.int32).max


def asks_for_times(config) -> bool:
    """Whether a run's model reads when the interactions of a history took place.

    A model says which of its settings asks for it as ``reads_times_if``.
    """
    key = getattr(config.model_class, "reads_times_if", None)
    return key is not None and bool(config[key])


def seconds_since_first(times: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Seconds between two times of each row, int32; from 0 on, and up to 68 years.

    Parameters
    ----------
    times, first : np.ndarray [...], int64
        Microseconds.
    """
    return np.clip((times - first) // 1_000_000, 0, _MOST).astype(np.int32)


def say_there_are_none(logger, why: str) -> None:
    """Log that a model which would read times goes on without."""
    logger.warning(f"the order of a history counts, and not when its interactions took place: {why}")


class TimedHistories:
    """Mixin before that of a dataset's filters: the times of interactions, as far as the model reads them.

    Rows are filtered with their times; RecBole, which keeps numbers in float32, never sees them.
    """

    def _data_filtering(self):
        if asks_for_times(self.config):
            try:
                self.inter_feat[_TIME] = _in_microseconds(self.real_times())
            except NoTimes as none:
                say_there_are_none(self.logger, str(none))
        super()._data_filtering()
        self._times = self.inter_feat.pop(_TIME).to_numpy() if _TIME in self.inter_feat else None

    def _keep_times_of(self, rows: np.ndarray) -> None:
        """Leave out the times of all rows but these."""
        if self._times is not None:
            self._times = self._times[rows]

    def _put_times(self) -> None:
        """Let the times be sorted with the rows."""
        if self._times is not None:
            self.inter_feat.update(Interaction({_TIME: torch.from_numpy(self._times)}))

    def _taken_times(self) -> Tensor | None:
        """Seconds since the user's first interaction, of rows that are sorted by user and time."""
        if self._times is None:
            return None
        times, users = self.inter_feat[_TIME].numpy(), self.inter_feat[self.uid_field].numpy()
        self.inter_feat.drop(_TIME)
        self._times = None
        first = np.searchsorted(users, users)
        return torch.from_numpy(seconds_since_first(times, times[first]))

    def _fill_times(self, samples: Interaction) -> None:
        """Put the times of each history beside its items."""
        if self.user_items.times is None:
            return
        targets = self.user_items.start[samples[self.uid_field]] + samples[HISTORY_LENGTH]
        shape, lengths = (self.max_item_list_len,), samples[self.item_list_length_field]
        (times,) = windows([self.user_items.times], [shape], targets, lengths)
        samples.update(Interaction({HISTORY_TIMES: times}))


def _in_microseconds(times: np.ndarray) -> np.ndarray:
    """Times in one unit, which shows in their size; numbers that are no dates are seconds."""
    unit = unit_of(max(float(times.min()), 0.0)) if len(times) else unit_of(0)
    if not unit.is_date:
        return (times * 1e6).astype(np.int64)
    return in_microseconds(times.astype(np.int64), unit)
