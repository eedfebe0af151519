"""Datasets of ``protocol: cold``: training ends at a time, and the test is on items first seen after it."""

# What the mixin inherits is RecBole's, which has no types.
# mypy: disable-error-code="attr-defined, has-type, misc, type-var"

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.data.cold_cut import ColdCut, cold_cut
from recbole_microlens.data.real_times import NoTimes, in_words
from recbole_microlens.data.sequences import leave_one_out, take
from recbole_microlens.errors import MicroLensError

# Columns while rows are filtered; RecBole's own have no space.
_TIME, _FIRST_TIME = "real time", "first real time of the item"


class ColdItems:
    """Mixin before those of :mod:`~recbole_microlens.data.dataset`: items are held out, not interactions.

    All items that the filters leave keep their number, so that all are ranked. Of the interactions after the
    cut the test targets alone are kept: a row of a cold item is a target, whatever the kind of the model.

    Attributes
    ----------
    is_cold : Tensor [n_items], bool
        Which items occur after the cut alone.
    """

    is_cold: Tensor

    def _load_inter_feat(self, token, dataset_path):
        super()._load_inter_feat(token, dataset_path)
        # Before any row is dropped: an item that anybody has seen before the cut is not cold.
        try:
            self.inter_feat[_TIME] = self.real_times()
        except NoTimes as none:
            what = "`protocol: cold` needs to know when each interaction took place"
            raise MicroLensError(f"{what}: {none}") from none
        self.inter_feat[_FIRST_TIME] = self.inter_feat.groupby(self.iid_field)[_TIME].transform("min")

    def _keep_latest(self, order):
        """Find the cut; the rows stay until their items have numbers."""
        times, first_times = (self.inter_feat.pop(column).to_numpy() for column in (_TIME, _FIRST_TIME))
        users, share = self.inter_feat[self.uid_field].to_numpy(), self.config["cold_cut"]
        self._cut = cold_cut(
            users, times, first_times, order, share, most=self.config["max_user_interactions"]
        )

    def _remap_ID_all(self):
        super()._remap_ID_all()
        cut = self.__dict__.pop("_cut")
        items = self.inter_feat[self.iid_field].to_numpy()
        is_cold = np.zeros(self.item_num, dtype=bool)
        is_cold[items[cut.is_cold]] = True
        self.is_cold = torch.from_numpy(is_cold)
        self._require_and_say(cut)
        self.inter_feat = self.inter_feat.iloc[cut.kept].reset_index(drop=True)
        if hasattr(self, "_keep_times_of"):
            self._keep_times_of(cut.kept)

    def _require_and_say(self, cut: ColdCut) -> None:
        """Log what the cut leaves.

        Raises
        ------
        MicroLensError
            It leaves nothing to test, or to train and validate.
        """
        users, share = self.inter_feat[self.uid_field].to_numpy(), self.config["cold_cut"]
        cold, items = int(self.is_cold.sum()), self.item_num - 1
        validated = int((np.bincount(users[cut.before]) > 1).sum())
        training = len(cut.before) - validated
        what = (
            f"the cut is at {in_words(cut.time)}: {cold:,} of {items:,} items are cold; {training:,} "
            f"interactions to train on, {validated:,} users to validate and {len(cut.targets):,} to test"
        )
        which = f"dataset {self.dataset_name}, `cold_cut`: {share}: {what}"
        if not len(cut.targets):
            raise MicroLensError(
                f"{which}. Lower `cold_cut`, so that more items occur after the cut alone, or use more data."
            )
        if not validated or items - cold < 2:
            raise MicroLensError(
                f"{which}. To train and validate takes two items, and users with two interactions, up to the "
                "cut. Raise `cold_cut`, or use more data."
            )
        self.logger.info(f"`cold_cut`: {share}: {what}")

    def leave_one_out(self, group_by, leave_one_mode):
        """The rows of cold items test; of each user's others the last validates, and the rest train."""
        is_target = self.is_cold[self.inter_feat[self.iid_field]].numpy()
        known = np.flatnonzero(~is_target)
        # A sequential model has no sample of a user's first interaction.
        has_first = not hasattr(self, "user_items")
        users = self.inter_feat[group_by].numpy()[known]
        train, valid = leave_one_out(users, 1, first_trains=has_first)
        if not len(train):
            raise MicroLensError(
                f"dataset {self.dataset_name}: up to the cut (`cold_cut`: {self.config['cold_cut']}) no user "
                "has a sequence to train on and an interaction to validate. Raise it, or use more data."
            )
        self._drop_unused_col()
        parts = (known[train], known[valid], np.flatnonzero(is_target))
        return [self.copy(take(self.inter_feat, torch.from_numpy(rows))) for rows in parts]
