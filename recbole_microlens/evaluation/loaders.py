"""Loaders for full ranking: batches as large as memory and speed want, without a loop over users."""

from __future__ import annotations

from logging import getLogger

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType
from torch import Tensor

from recbole_microlens import distributed
from recbole_microlens.data.sequences import HISTORY_LENGTH, UserItems, take
from recbole_microlens.errors import MicroLensError

# Most bytes of scores in a batch. On a CPU more is slower: large blocks of memory are paged in each time.
SCORE_BYTES = {"cpu": 32 << 20, "cuda": 128 << 20}


class RankingDataLoader(FullSortEvalDataLoader):
    """RecBole's full-ranking loader for sequential models, in batches whose scores stay small.

    A batch is no larger than ``eval_batch_size`` targets and :data:`SCORE_BYTES` of scores, nor than a model
    says as ``users_ranked_at_once``. Of several processes each ranks its share of the targets.

    Attributes
    ----------
    users_to_rank : int
        Targets in all batches.
    """

    users_to_rank: int

    def __init__(self, config, dataset):
        super().__init__(config, dataset, sampler=None)

    def _init_batch_size_and_step(self):
        rows = users_within(SCORE_BYTES, self.config["device"], self._dataset.item_num)
        at_once = getattr(self.config.model_class, "users_ranked_at_once", rows)
        self.step = min(rows, at_once, self.config["eval_batch_size"])
        self.set_batch_size(self.step)
        if 1 < distributed.world_size() > self.sample_size:
            raise MicroLensError(
                f"nproc: there are {self.sample_size} users to rank, fewer than there are processes. Start "
                "fewer processes."
            )
        # RecBole makes its list of samples after this.
        self._mine = distributed.my_share(range(self.sample_size))
        self.sample_size = self.users_to_rank = len(self._mine)

    def collate_fn(self, index):
        rows = torch.tensor([self._mine[place] for place in index], dtype=torch.int64)
        interaction = self._dataset.join(take(self._dataset.inter_feat, rows))
        interaction = self.transform(self._dataset, interaction)
        return interaction, None, torch.arange(len(rows)), interaction[self.iid_field]


class HistoryMaskedDataLoader(RankingDataLoader):
    """The same, with each user's history to leave out.

    RecBole gives sequential models no history. Here it is every interaction of the user before the target,
    however long; a target that the user has seen before stays in.
    """

    def collate_fn(self, index):
        interaction, _, positive_u, positive_i = super().collate_fn(index)
        users = interaction[self.uid_field]
        rows, items = self._dataset.user_items.before(users, interaction[HISTORY_LENGTH])
        unseen = items != positive_i[rows]
        return interaction, (rows[unseen], items[unseen]), positive_u, positive_i


class UserRankingDataLoader(FullSortEvalDataLoader):
    """RecBole's full-ranking loader for models that know a user by id.

    Parameters
    ----------
    config, dataset : Config, Dataset
        As RecBole's loaders take them; the positives are the interactions of the dataset.
    seen : list
        Datasets whose interactions are left out of the ranking, except for the positives.
    earlier : list
        Datasets with the users' interactions before the positives, of which there may be none.
    """

    def __init__(self, config, dataset, seen: list, earlier: list):
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        dataset.sort(by=self.uid_field, ascending=True)
        positives, history = _pairs([dataset]), _pairs(seen)
        self._positives = _by_user(positives, dataset)
        self._history = _by_user(history[~torch.isin(history, positives)], dataset)
        users = dataset.inter_feat[self.uid_field].unique()
        lengths = _interactions_of_users(earlier, dataset.user_num)[users]
        self.user_df = dataset.join(Interaction({self.uid_field: users, HISTORY_LENGTH: lengths}))
        self.sample_size = len(users)
        # RecBole's own __init__ makes a set and a tensor for every user.
        super(FullSortEvalDataLoader, self).__init__(config, dataset, sampler=None)

    def _init_batch_size_and_step(self):
        items = self._dataset.item_num
        rows = users_within(SCORE_BYTES, self.config["device"], items) if _scores_users(self.config) else 1
        self.step = max(rows, self.config["eval_batch_size"] // items)
        self.set_batch_size(self.step * items)

    def collate_fn(self, index):
        users = take(self.user_df, torch.tensor(index))
        ids = users[self.uid_field]
        return users, self._history.all_of(ids), *self._positives.all_of(ids)


def users_within(limits: dict[str, int], device: torch.device, items: int) -> int:
    """How many users' scores of all items are within the device's limit of bytes, one at least."""
    return max(limits[device.type] // (4 * items), 1)


def _scores_users(config) -> bool:
    """Does the model score all items in little more memory than the scores take?

    Knowledge-based models make features of every (user, item) pair, and so does RecBole for a model without
    ``full_sort_predict``: their batches stay as large as ``eval_batch_size`` says.
    """
    own = config.model_class.full_sort_predict is not AbstractRecommender.full_sort_predict
    return own and config["MODEL_TYPE"] != ModelType.KNOWLEDGE


def _interactions_of_users(datasets: list, n_users: int) -> Tensor:
    users = [dataset.inter_feat[dataset.uid_field] for dataset in datasets]
    return torch.bincount(torch.cat([torch.empty(0, dtype=torch.int64), *users]), minlength=n_users)


def _pairs(datasets: list) -> Tensor:
    """The distinct (user, item) pairs, each one number, sorted by user."""
    columns = [(d.inter_feat[d.uid_field], d.inter_feat[d.iid_field]) for d in datasets]
    return torch.cat([users * datasets[0].item_num + items for users, items in columns]).unique()


def _by_user(pairs: Tensor, dataset) -> UserItems:
    return UserItems.of(pairs // dataset.item_num, pairs % dataset.item_num, dataset.user_num)
