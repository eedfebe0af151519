"""RecBole datasets whose interactions are read from a sequence store: lazily, or as a table of all rows."""

# What the mixins inherit is RecBole's, which has no types.
# mypy: disable-error-code="attr-defined, has-type, misc"

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data import dataset as recbole_datasets
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_microlens.data.history_times import asks_for_times, say_there_are_none
from recbole_microlens.data.interactions_source import store_of
from recbole_microlens.data.real_times import NoTimes
from recbole_microlens.data.stored_ids import PADDING, UserNumbers, UserTokens
from recbole_microlens.data.stored_samples import Names, StoredSamples, StoredUserItems, Targets
from recbole_microlens.data.stored_sequences import Rows, StoredSequences
from recbole_microlens.data.stored_times import StoredTimes
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.sequence_store import SequenceStore

_LONG = 64  # characters: an array of texts takes as much for each as for the longest
_TABLE_BYTES = 300  # of a row while RecBole reads it, as measured on files
_WORTH_SAYING = 20_000_000  # rows
_PLAIN_SPLIT = {"order": "TO", "group_by": "user"}
_HELD_OUT = {"valid_and_test": ("valid", "test"), "valid_only": ("valid",), "test_only": ("test",)}
# Settings that change rows or columns in ways that take a table.
_OF_TABLES = (
    *("rm_dup_inter", "normalize_field", "normalize_all", "discretization", "preload_weight", "unused_col"),
    *("unload_col", "numerical_features", "alias_of_user_id", "alias_of_item_id", "seq_len"),
)


def is_lazy(config, base: type) -> bool:
    """Whether the samples of a run can be made as they are asked for; else all rows are read into a table.

    Parameters
    ----------
    config : Config
    base : type
        RecBole's dataset class of the model.
    """
    arguments, model_class = config["eval_args"], config.model_class
    negatives = config["train_neg_sample_args"] or {}
    return (
        base is recbole_datasets.SequentialDataset
        and not hasattr(model_class, "dataset_mixin")
        and config["protocol"] != "cold"
        and set(config["load_col"] or {"all": "*"}) == {"inter"}
        and config["item_inter_num_interval"] in (None, "[0,inf)")
        and not any(config[key] for key in _OF_TABLES)
        and all(arguments[key] == value for key, value in _PLAIN_SPLIT.items())
        and list(arguments["split"]) == ["LS"]
        and arguments["split"]["LS"] in _HELD_OUT
        and set(arguments["mode"].values()) == {"full"}
        and negatives.get("distribution") != "popularity"
    )


class StoredTable:
    """Mixin before those of :mod:`~recbole_microlens.data.dataset`: RecBole gets all rows of the store, with
    the ids and positions that ``.inter`` would have.
    """

    def _load_inter_feat(self, token, dataset_path):
        self._store = SequenceStore.open(store_of(self.config))
        rows = Rows.of(self._store)
        if len(rows.codes) > _WORTH_SAYING:
            self.logger.warning(
                f"{self.config['model']} with these settings needs all {len(rows.codes):,} interactions in "
                f"memory, about {len(rows.codes) * _TABLE_BYTES / 1e9:.0f} GB. Models with a suffix, and "
                "sequential ones with the default split, read them from the store as they go."
            )
        users, items = (
            np.array(self._store.user_ids(range(len(self._store))), dtype=object),
            self._store.item_ids,
        )
        user = np.repeat(np.arange(len(users)), np.diff(rows.offsets))
        position = np.arange(1, len(user) + 1) - rows.offsets[user]
        if rows.earlier is not None:
            position += rows.earlier[user]
        self.inter_feat = pd.DataFrame(
            {
                self.uid_field: users[user],
                self.iid_field: np.array(items, dtype=object)[rows.codes],
                self.time_field: position.astype(np.float64),
            }
        )
        for field, kind in _kinds(self).items():
            self.set_field_property(field, kind, FeatureSource.INTERACTION, 1)

    def real_times(self) -> np.ndarray:
        """When each interaction took place, epoch milliseconds, [interactions] float64.

        Raises
        ------
        NoTimes
            The store has none.
        """
        if self._store.times is None:
            raise NoTimes(_no_times(self._store))
        return np.asarray(self._store.times).astype(np.float64)


class StoredDataset:
    """Mixin before those of :mod:`~recbole_microlens.data.dataset`: samples are made from the store's arrays
    as they are asked for.

    Users, items and samples are numbered as RecBole numbers them from ``.inter``, and its parts have the same
    samples in the same order.
    """

    sequences: StoredSequences
    inter_feat: Any

    def _load_data(self, token, dataset_path):
        self._store = SequenceStore.open(store_of(self.config))
        for field, kind in _kinds(self).items():
            self.set_field_property(field, kind, FeatureSource.INTERACTION, 1)
        self.field2source[self.uid_field] = FeatureSource.USER_ID
        self.field2source[self.iid_field] = FeatureSource.ITEM_ID
        self.user_feat = self.item_feat = None

    def _data_processing(self):
        self.feat_name_list = ["inter_feat"]
        store, progress = self._store, self.config["show_progress"]
        rows = self._rows_of_frequent_items(progress)
        self.sequences = StoredSequences.of(
            rows, self._kept_users(rows), self.config["max_user_interactions"], store.manifest.items, progress
        )
        self._name()
        self._times = self._read_times()
        self.user_items = StoredUserItems(self.sequences, self._times)
        self._order = self.sequences.order
        self.inter_feat = dict.fromkeys((self.uid_field, self.iid_field, self.time_field))

    def _read_times(self) -> StoredTimes | None:
        if not asks_for_times(self.config):
            return None
        if self._store.times is None:
            say_there_are_none(self.logger, _no_times(self._store))
            return None
        return StoredTimes(self._store, self.sequences)

    def _rows_of_frequent_items(self, progress: bool) -> Rows:
        """The interactions of items with at least ``min_item_interactions``."""
        rows, least = Rows.of(self._store), self.config["min_item_interactions"]
        if least is None:
            return rows
        counts = rows.count_items(self._store.manifest.items, progress)
        is_kept, is_there = counts >= least, counts > 0
        if is_kept[is_there].all():
            return rows
        kept = rows.of_items(is_kept, progress)
        lost = {
            "items": (int((is_there & ~is_kept).sum()), int(is_there.sum())),
            "users": (int(((rows.lengths > 0) & (kept.lengths == 0)).sum()), int((rows.lengths > 0).sum())),
            "interactions": (int(counts[~is_kept].sum()), int(counts.sum())),
        }
        said = ", ".join(f"{dropped:,} of {of:,} {name}" for name, (dropped, of) in lost.items() if dropped)
        if not len(kept.codes):
            raise MicroLensError(
                f"dataset {self.dataset_name}: {said} are dropped, which is all (`min_item_interactions`: "
                f"{least}). Lower it, or use more data."
            )
        self.logger.info(f"dropped: {said} (`min_item_interactions`: {least})")
        return kept

    def _kept_users(self, rows: Rows) -> np.ndarray:
        """Which users have a number of interactions that ``user_inter_num_interval`` keeps, [users] bool."""
        lengths, rule = rows.lengths, self.config["user_inter_num_interval"]
        intervals = self._parse_intervals_str(rule)
        numbers = range(int(lengths.max(initial=0)) + 1)
        kept = np.array([number > 0 and _is_within(self, number, intervals) for number in numbers])
        is_kept = kept[lengths]
        users, interactions = int((lengths > 0).sum()), int(lengths.sum())
        left, dropped = int(is_kept.sum()), int(lengths[~is_kept].sum())
        what = f"{users - left:,} of {users:,} users and {dropped:,} of {interactions:,} interactions"
        if left == 0:
            raise MicroLensError(
                f"dataset {self.dataset_name}: {what} are dropped, which is all (`user_inter_num_interval`: "
                f"{rule}). Widen it, or use more data."
            )
        if dropped:
            self.logger.info(f"dropped: {what} (`user_inter_num_interval`: {rule})")
        return is_kept

    def _name(self) -> None:
        """What RecBole knows of original ids."""
        found = self.sequences
        names = [PADDING, *map(self._store.item_ids.__getitem__, found.code[1:].tolist())]
        items = np.array(names, dtype=object if max(map(len, names)) > _LONG else str)
        users = UserTokens(self._store, found.row), UserNumbers(self._store, found.row)
        self.field2id_token = {self.uid_field: users[0], self.iid_field: items}
        self.field2token_id = {
            self.uid_field: users[1],
            self.iid_field: {name: number for number, name in enumerate(names)},
        }

    def build(self):
        """The parts for training, validation and test, as RecBole splits them."""
        self._aug_presets()
        self.inter_feat = self._samples(Targets(np.zeros_like))
        held_out = _HELD_OUT[self.config["eval_args"]["split"]["LS"]]
        stride = self.max_item_list_len if getattr(self.config.model_class, "whole_sequences", False) else 1
        samples = {"train": self._samples(_trained(len(held_out), stride))}
        for behind, part in enumerate(reversed(held_out)):
            samples[part] = self._samples(_held_out(behind))
        if stride > 1 and not len(samples["train"]):
            raise MicroLensError(
                f"dataset {self.dataset_name}: no user has a training sequence (two interactions besides "
                "the validation and test targets). Use more data."
            )
        self._counts = self._trained_items([samples[part] for part in held_out])
        none = Targets(np.zeros_like, most=0)
        parts = [self.copy(samples.get(part) or self._samples(none)) for part in ("train", "valid", "test")]
        if stride > 1:
            parts[0].popularity = self._counts
        return parts

    def _trained_items(self, held_out: list[StoredSamples]) -> Tensor:
        """Training interactions of each item, [n_items] int64: all but targets of validation and test."""
        not_trained = [samples.targets.last for samples in held_out]
        if (self.sequences.count == 1).any():  # A user with one interaction has no sample.
            not_trained.append(lambda counts: np.where(counts == 1, 0, -1))
        counts = self.sequences.count_at(not_trained, self.config["show_progress"])
        return torch.from_numpy(self.sequences.item_count - counts)

    def _samples(self, targets: Targets) -> StoredSamples:
        suffix = self.config["LIST_SUFFIX"]
        names = Names(
            user=self.uid_field,
            item=self.iid_field,
            time=self.time_field,
            items=self.iid_field + suffix,
            times=f"{self.time_field}{suffix}",
            length=self.item_list_length_field,
        )
        return StoredSamples(self.sequences, names, self.max_item_list_len, targets, self._order, self._times)

    def train_counts(self, train) -> Tensor:
        """Training interactions of each item, [n_items] int64, whatever ``train`` is."""
        return self._counts

    def item_slots(self) -> int:
        """Items in the inputs and targets of all samples, with their repeats."""
        return self.inter_feat.slots()

    @property
    def inter_num(self) -> int:
        return self.sequences.interactions

    @property
    def avg_actions_of_users(self) -> float:
        return self.inter_num / max(self.user_num - 1, 1)

    @property
    def avg_actions_of_items(self) -> float:
        return self.inter_num / max(self.item_num - 1, 1)


def _no_times(store: SequenceStore) -> str:
    return f"{store.folder} has no times. Convert the release again from a pairs file with times"


def _kinds(dataset) -> dict[str, FeatureType]:
    kinds = (FeatureType.TOKEN, FeatureType.TOKEN, FeatureType.FLOAT)
    return dict(zip((dataset.uid_field, dataset.iid_field, dataset.time_field), kinds, strict=True))


def _is_within(dataset, number: int, intervals: list | None) -> bool:
    return intervals is None or dataset._within_intervals(number, intervals)


def _trained(held_out: int, stride: int) -> Targets:
    """The targets of training: all but those held out, of which a user's first target is none."""
    return Targets(lambda counts: np.clip(counts - 2, 0, held_out), stride)


def _held_out(behind: int) -> Targets:
    """The target before the last ``behind`` ones, of users who have another before it."""
    return Targets(lambda counts: np.full_like(counts, behind), most=1, least=behind + 3)
