"""RecBole datasets under the paper's protocol: exact order, latest interactions, histories."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from recbole_microlens import compat
from recbole_microlens.errors import MicroLensError

compat.fix_recbole()
from recbole.data import dataset as recbole_datasets  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.utils import ModelType  # noqa: E402

HISTORY_LENGTH = "history_length"


@dataclass(frozen=True)
class UserItems:
    """Every user's items in order, flat.

    Attributes
    ----------
    items : [interactions] int64, sorted by user and time.
    start : [n_users + 1] int64; the items of user u are ``items[start[u]:start[u + 1]]``.
    """

    items: Tensor
    start: Tensor

    def before(self, users: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The first ``lengths[b]`` items of user ``users[b]`` as (row b, item) pairs, flat.

        Parameters
        ----------
        users, lengths : [B] int64.
        """
        rows = torch.repeat_interleave(torch.arange(len(users)), lengths)
        first = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        within = torch.arange(len(rows)) - first
        return rows, self.items[self.start[users][rows] + within]


class ProtocolDataset(compat.PandasThree):
    """Mixin for any RecBole dataset: each user's latest interactions, in an order that float32 can hold."""

    def _data_filtering(self):
        super()._data_filtering()
        if self.time_field in self.inter_feat:
            users = pd.factorize(self.inter_feat[self.uid_field])[0]
            order = np.lexsort((self.inter_feat[self.time_field].to_numpy(), users))
            self._make_order_exact(order)
            self._keep_latest(order)

    def _make_order_exact(self, order: np.ndarray) -> None:
        """Replace times by positions where float32, which RecBole sorts by, would lose their order.

        ``order`` sorts rows by user and time; ties keep the file's order.
        """
        users = self.inter_feat[self.uid_field].to_numpy()[order]
        times = self.inter_feat[self.time_field].to_numpy()[order]
        same_user = users[1:] == users[:-1]
        lost = same_user & (np.diff(times) > 0) & (np.diff(times.astype(np.float32)) <= 0)
        if not lost.any():
            return
        positions = np.empty(len(order))
        positions[order] = _position_in_group(same_user)
        self.inter_feat[self.time_field] = positions
        self.logger.info(
            f"{self.time_field}: {int(lost.sum())} neighbours of one user are too close for float32, which "
            "RecBole "
            "sorts by; replaced by their position"
        )

    def _keep_latest(self, order: np.ndarray) -> None:
        """Keep each user's latest ``max_user_interactions`` interactions, before items are numbered."""
        most = self.config["max_user_interactions"]
        if most is None:
            return
        users = self.inter_feat[self.uid_field].to_numpy()[order]
        position = _position_in_group(users[1:] == users[:-1])
        from_end = _position_in_group((users[1:] == users[:-1])[::-1])[::-1]
        if position.max(initial=0) < most:
            return
        self.inter_feat = self.inter_feat.iloc[np.sort(order[from_end < most])].reset_index(drop=True)
        if self.item_feat is not None:
            kept = self.item_feat[self.iid_field].isin(self.inter_feat[self.iid_field])
            self.item_feat = self.item_feat[kept].reset_index(drop=True)


class SequentialProtocolDataset(ProtocolDataset):
    """Mixin for RecBole's sequential datasets: every user's items, and how many precede each target."""

    user_items: UserItems

    def data_augmentation(self):
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        users = self.inter_feat[self.uid_field]
        counts = torch.bincount(users, minlength=self.user_num)
        start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.user_items = UserItems(self.inter_feat[self.iid_field].clone(), start)
        position = torch.arange(len(users)) - start[users]
        super().data_augmentation()
        # RecBole makes one sample of every interaction but a user's first, in this order.
        self.inter_feat.update(Interaction({HISTORY_LENGTH: position[position > 0]}))

    def train_counts(self, train: Interaction) -> Tensor:
        """Training interactions of each item, [n_items] int64: targets, and every user's first item."""
        users = train[self.uid_field].unique()
        first = self.user_items.items[self.user_items.start[users]]
        return torch.bincount(torch.cat([train[self.iid_field], first]), minlength=self.item_num)


class WholeSequenceDataset(SequentialProtocolDataset):
    """Mixin for content models: one training sample a user, his whole training sequence.

    A sample is RecBole's own last training sample of the user: the items before, and the target. Validation
    and test samples are RecBole's. The training dataset has ``popularity``: training interactions of each
    item, [n_items].
    """

    popularity: Tensor

    def build(self):
        train, valid, test = super().build()
        if len(train) == 0:
            raise MicroLensError(
                f"dataset {self.dataset_name}: no user has a training sequence (two interactions beside the "
                "validation and test targets). Lower `user_inter_num_interval` or use more data."
            )
        train.popularity = self.train_counts(train.inter_feat)
        users = train.inter_feat[self.uid_field]
        is_last = torch.ones(len(users), dtype=torch.bool)
        is_last[:-1] = users[1:] != users[:-1]
        train.inter_feat = train.inter_feat[is_last.nonzero()[:, 0]]
        return [train, valid, test]


_CLASS_OF_TYPE = {
    ModelType.SEQUENTIAL: "SequentialDataset",
    ModelType.KNOWLEDGE: "KnowledgeBasedDataset",
}


def create_dataset(config):
    """Create the dataset of a model: RecBole's class for it, under the protocol.

    Unlike ``recbole.data.create_dataset`` it never loads a pickled dataset.
    """
    own = getattr(recbole_datasets, config["model"] + "Dataset", None)
    base = own or getattr(recbole_datasets, _CLASS_OF_TYPE.get(config["MODEL_TYPE"], "Dataset"))
    return _under_protocol(base, getattr(config.model_class, "whole_sequences", False))(config)


@cache
def _under_protocol(base: type, whole_sequences: bool) -> type:
    if not issubclass(base, recbole_datasets.SequentialDataset):
        mixin = ProtocolDataset
    else:
        mixin = WholeSequenceDataset if whole_sequences else SequentialProtocolDataset
    return type(f"{mixin.__name__}_{base.__name__}", (mixin, base), {})


def _position_in_group(same_as_previous: np.ndarray) -> np.ndarray:
    """Positions 0, 1, 2, ... within runs; ``same_as_previous[i]``: row i + 1 continues the run of row i."""
    index = np.arange(len(same_as_previous) + 1)
    starts = np.where(np.concatenate([[True], ~same_as_previous]), index, 0)
    return index - np.maximum.accumulate(starts)
