"""RecBole datasets under the paper's protocol: exact order, latest interactions, histories."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from recbole.data import dataset as recbole_datasets
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, ModelType
from torch import Tensor

from recbole_microlens.compat.float32_time import exact_times
from recbole_microlens.compat.recbole import PandasThree
from recbole_microlens.data.cold_items import ColdItems
from recbole_microlens.data.history_times import TimedHistories
from recbole_microlens.data.interactions_source import STORE, source_of
from recbole_microlens.data.kept import latest_of_users, of_items_with
from recbole_microlens.data.real_times import real_times
from recbole_microlens.data.sequences import (
    HISTORY_LENGTH,
    UserItems,
    leave_one_out,
    position_in_group,
    stable_order,
    take,
    windows,
)
from recbole_microlens.data.stored_dataset import StoredDataset, StoredTable, is_lazy
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.atomic_check import check_atomic

_SAMPLES_AT_ONCE = 1 << 18
_INTERVALS = ("user_inter_num_interval", "item_inter_num_interval")
_HELD_OUT = {"valid_and_test": ("valid", "test"), "valid_only": ("valid",), "test_only": ("test",)}


class ProtocolDataset(PandasThree):
    """Mixin for any RecBole dataset: each user's latest interactions, in an order that float32 can hold."""

    def __reduce__(self):
        # The class was made of these: a spawned worker makes it again.
        return _remade, self._made_of, self.__dict__

    def _load_feat(self, filepath, source):
        """As RecBole's, once it is sure that RecBole reads what stands in the file."""
        loaded, _ = self._get_load_and_unload_col(source)
        if loaded != set():
            check_atomic(
                Path(filepath),
                ids=(self.uid_field, self.iid_field),
                times=(self.time_field,),
                distinct=self._key_of.get(source),
                loaded=loaded,
                separator=self.config["field_separator"],
                encoding=self.config["encoding"] or "utf-8",
            )
        return super()._load_feat(filepath, source)

    def real_times(self) -> np.ndarray:
        """When each interaction really took place, [interactions] float64; before any row is dropped."""
        fields = (self.uid_field, self.iid_field, self.time_field)
        inter = Path(self.dataset_path) / f"{self.dataset_name}.inter"
        return real_times(inter, *(self.inter_feat[field].to_numpy() for field in fields))

    @property
    def _key_of(self) -> dict:
        return {FeatureSource.USER: self.uid_field, FeatureSource.ITEM: self.iid_field}

    def _data_filtering(self):
        super()._data_filtering()
        if self.time_field in self.inter_feat:
            users = pd.factorize(self.inter_feat[self.uid_field])[0]
            order = np.lexsort((self.inter_feat[self.time_field].to_numpy(), users))
            self._make_order_exact(order)
            self._keep_latest(order)

    def _filter_by_inter_num(self):
        """As RecBole's, after ``min_item_interactions``, and says what it costs."""
        if self.config["min_item_interactions"] is not None:
            self._drop_rare_items(self.config["min_item_interactions"])
        users, rows = self.inter_feat[self.uid_field].nunique(), len(self.inter_feat)
        super()._filter_by_inter_num()
        left, dropped = self.inter_feat[self.uid_field].nunique(), rows - len(self.inter_feat)
        if dropped == 0:
            return
        set_keys = [key for key in _INTERVALS if self.config[key] not in (None, "[0,inf)")]
        rule = ", ".join(f"`{key}`: {self.config[key]}" for key in set_keys)
        what = f"{users - left:,} of {users:,} users and {dropped:,} of {rows:,} interactions"
        if left == 0:
            raise MicroLensError(
                f"dataset {self.dataset_name}: {what} are dropped, which is all ({rule}). Widen "
                f"`{set_keys[0]}`, or use more data."
            )
        self.logger.info(f"dropped: {what} ({rule})")

    def _drop_rare_items(self, least: int) -> None:
        """Drop the items with fewer interactions in the whole dataset: before any user is dropped, and before
        a user's earlier interactions are.
        """
        before = self.inter_feat
        kept = before[of_items_with(before[self.iid_field].to_numpy(), least)]
        lost = {
            name: (before[field].nunique() - kept[field].nunique(), before[field].nunique())
            for name, field in (("items", self.iid_field), ("users", self.uid_field))
        }
        lost["interactions"] = (len(before) - len(kept), len(before))
        said = ", ".join(f"{dropped:,} of {of:,} {name}" for name, (dropped, of) in lost.items() if dropped)
        if kept.empty:
            raise MicroLensError(
                f"dataset {self.dataset_name}: {said} are dropped, which is all (`min_item_interactions`: "
                f"{least}). Lower it, or use more data."
            )
        if said:
            self.logger.info(f"dropped: {said} (`min_item_interactions`: {least})")
        self.inter_feat = kept.reset_index(drop=True)
        self._keep_item_rows()

    def _keep_item_rows(self) -> None:
        """Drop what is known of items without interactions."""
        if self.item_feat is not None:
            kept = self.item_feat[self.iid_field].isin(self.inter_feat[self.iid_field])
            self.item_feat = self.item_feat[kept].reset_index(drop=True)

    def leave_one_out(self, group_by, leave_one_mode):
        """RecBole's split, row by row, by array operations."""
        if group_by is None or leave_one_mode not in _HELD_OUT:
            return super().leave_one_out(group_by, leave_one_mode)
        train, *held_out = leave_one_out(self.inter_feat[group_by].numpy(), len(_HELD_OUT[leave_one_mode]))
        parts = dict.fromkeys(("valid", "test"), np.empty(0, dtype=np.int64))
        parts = {"train": train} | parts | dict(zip(_HELD_OUT[leave_one_mode], held_out, strict=True))
        self._drop_unused_col()
        return [self.copy(take(self.inter_feat, torch.from_numpy(rows))) for rows in parts.values()]

    def sort(self, by, ascending=True):
        """As RecBole's, faster where it is ascending by plain columns."""
        fields = [by] if isinstance(by, str) else by
        plain = all(field in self.inter_feat and self.inter_feat[field].ndim == 1 for field in fields)
        if ascending is not True or not plain:
            super().sort(by, ascending)
            return
        order = stable_order([self.inter_feat[field].numpy() for field in fields])
        self.inter_feat = take(self.inter_feat, torch.from_numpy(order))

    def _make_order_exact(self, order: np.ndarray) -> None:
        """Replace times by positions where float32, which RecBole sorts by, would lose their order.

        ``order`` sorts rows by user and time; ties keep the file's order.
        """
        users, times = (self.inter_feat[field].to_numpy() for field in (self.uid_field, self.time_field))
        found = exact_times(users, times, order)
        if found is None:
            return
        self.inter_feat[self.time_field], lost = found
        self.logger.info(
            f"{self.time_field}: {lost} pairs of consecutive interactions have times that float32, which "
            "RecBole sorts by, cannot tell apart; times are replaced by positions"
        )

    def _keep_latest(self, order: np.ndarray) -> None:
        """Keep each user's latest ``max_user_interactions`` interactions, before items are numbered."""
        most = self.config["max_user_interactions"]
        if most is None:
            return
        rows = latest_of_users(self.inter_feat[self.uid_field].to_numpy(), order, most)
        if len(rows) == len(self.inter_feat):
            return
        self.inter_feat = self.inter_feat.iloc[rows].reset_index(drop=True)
        self._keep_item_rows()


class SequentialProtocolDataset(TimedHistories, ProtocolDataset):
    """Mixin for RecBole's sequential datasets: RecBole's samples by array operations, and every user's items.

    The samples of training, validation and test are RecBole's, field by field. The dataset itself keeps the
    targets without their sequences.
    """

    user_items: UserItems

    def data_augmentation(self):
        self._put_times()
        self.sort(by=[self.uid_field, self.time_field], ascending=True)
        users = self.inter_feat[self.uid_field]
        items = self.inter_feat[self.iid_field].clone()
        self.user_items = UserItems.of(users, items, self.user_num, self._taken_times())
        position = torch.arange(len(users)) - self.user_items.start[users]
        self._sequence_columns: dict[str, Tensor] = {}
        if super().data_augmentation.__func__ is recbole_datasets.SequentialDataset.data_augmentation:
            self._make_samples(position)
        else:
            self.logger.warning(
                f"{type(self).__name__} makes its samples in its own way, one by one, which is slower"
            )
            super().data_augmentation()
        # RecBole makes one sample of every interaction but a user's first, in this order.
        self.inter_feat.update(Interaction({HISTORY_LENGTH: position[position > 0]}))

    def _make_samples(self, position: Tensor) -> None:
        """RecBole's samples; a list field holds the number of the target's row until the split is made."""
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        columns = self.inter_feat
        targets = (position > 0).nonzero()[:, 0]
        self.inter_feat = take(columns, targets)
        lengths = position[targets].clamp(max=self.max_item_list_len)
        self.inter_feat.update(Interaction({self.item_list_length_field: lengths}))
        for field in columns:
            if field != self.uid_field:
                list_field = getattr(self, f"{field}_list_field")
                self._sequence_columns[list_field] = columns[field]
                self.inter_feat.update(Interaction({list_field: targets}))

    def build(self):
        parts = super().build()
        self._finish(parts)
        return parts

    def _finish(self, parts: list) -> None:
        """Put the sequences into the samples of each part."""
        columns = getattr(self, "_sequence_columns", {})
        for part in parts:
            self._fill_sequences(part.inter_feat, columns)
            self._fill_times(part.inter_feat)
        for list_field in columns:
            if list_field in self.inter_feat:
                self.inter_feat.drop(list_field)
        columns.clear()

    def _fill_sequences(self, samples: Interaction, columns: dict[str, Tensor]) -> None:
        wanted = [list_field for list_field in columns if list_field in samples]
        if not wanted:
            return
        shapes = [self._window_shape(list_field, columns) for list_field in wanted]
        lengths, targets = samples[self.item_list_length_field], samples[wanted[0]]
        sequences = windows([columns[list_field] for list_field in wanted], shapes, targets, lengths)
        samples.update(Interaction(dict(zip(wanted, sequences, strict=True))))

    def _window_shape(self, list_field: str, columns: dict[str, Tensor]) -> tuple[int, ...]:
        shape = self.field2seqlen[list_field]
        shape = (shape,) if isinstance(shape, int) else shape
        # RecBole keeps a numerical field as pairs of value and index.
        return shape + tuple(columns[list_field].shape[len(shape) :])

    def item_slots(self) -> int:
        """Items in the inputs and targets of all samples, with their repeats."""
        return int(self.inter_feat[self.item_list_length_field].sum()) + len(self.inter_feat)

    def train_counts(self, train: Interaction) -> Tensor:
        """Training interactions of each item, [n_items] int64: targets, and every user's first item."""
        users = train[self.uid_field].unique()
        first = self.user_items.items[self.user_items.start[users]]
        return torch.bincount(torch.cat([train[self.iid_field], first]), minlength=self.item_num)

    def samples_with_item(self) -> Tensor:
        """Samples that contain each item, in their input or as their target, [n_items] int64."""
        counts, samples = torch.zeros(self.item_num, dtype=torch.int64), len(self.inter_feat)
        for start in range(0, samples, _SAMPLES_AT_ONCE):
            block = take(self.inter_feat, torch.arange(start, min(start + _SAMPLES_AT_ONCE, samples)))
            inputs = block[getattr(self, f"{self.iid_field}_list_field")]  # [n, L]
            items = torch.cat([inputs, block[self.iid_field].unsqueeze(1)], dim=1).sort(dim=1).values
            is_repeat = torch.zeros_like(items, dtype=torch.bool)
            is_repeat[:, 1:] = items[:, 1:] == items[:, :-1]
            counts += torch.bincount(items[~is_repeat], minlength=self.item_num)
        counts[0] = 0
        return counts


class WholeSequenceDataset(SequentialProtocolDataset):
    """Mixin for content models trained at every position: a sample is a user's whole training sequence.

    A sequence that is longer than the input (``MAX_ITEM_LIST_LENGTH``, L) and its target is cut into windows:
    from the end on, each has the next L items as targets and the items before each as inputs, so that every
    training interaction but a user's first is a target once. The samples are RecBole's own, each L-th of a
    user, counted from the last. Validation and test samples are RecBole's. The training dataset has
    ``popularity``: training interactions of each item, [n_items].
    """

    popularity: Tensor

    def _finish(self, parts):
        train = parts[0]
        if len(train) == 0:
            raise MicroLensError(
                f"dataset {self.dataset_name}: no user has a training sequence (two interactions besides "
                "the validation and test targets). Use more data."
            )
        train.popularity = self.train_counts(train.inter_feat)
        users = train.inter_feat[self.uid_field].numpy()
        # A split over all users together leaves a user's samples in order, but not side by side.
        by_user = stable_order([users])
        same_user = users[by_user][1:] == users[by_user][:-1]
        from_end = position_in_group(same_user[::-1])[::-1]
        ends = np.sort(by_user[from_end % self.max_item_list_len == 0])
        train.inter_feat = take(train.inter_feat, torch.from_numpy(ends))
        super()._finish(parts)


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
    of_protocol = (ColdItems,) if config["protocol"] == "cold" else ()
    return _under_protocol(*of_protocol, *_of_store(config, base), _mixin_of(config.model_class, base), base)(
        config
    )


def _of_store(config, base: type) -> tuple[type, ...]:
    """The mixin that reads a sequence store, if the interactions are read from one."""
    if source_of(config) != STORE:
        return ()
    return (StoredDataset if is_lazy(config, base) else StoredTable,)


def _mixin_of(model_class: type, base: type) -> type:
    """The mixin that makes a model's samples; a model may name its own as ``dataset_mixin``."""
    if not issubclass(base, recbole_datasets.SequentialDataset):
        return ProtocolDataset
    if getattr(model_class, "whole_sequences", False):
        return WholeSequenceDataset
    return getattr(model_class, "dataset_mixin", SequentialProtocolDataset)


@cache
def _under_protocol(*bases: type) -> type:
    return type("_".join(base.__name__ for base in bases), bases, {"_made_of": bases})


def _remade(*bases: type):
    made = _under_protocol(*bases)
    return made.__new__(made)  # type: ignore[call-overload]
