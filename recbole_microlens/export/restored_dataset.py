"""What a model asks of its dataset while it is built, from what its run has kept."""

from __future__ import annotations

from logging import getLogger

import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_microlens.export.catalogue import TRAIN, Catalogue, Users


class RestoredDataset(Dataset):
    """A training dataset with users, items and interactions, and no other column.

    Parameters
    ----------
    config : Config
    catalogue : Catalogue
    users : Users, optional
        Without them there are no interactions, and one user, nobody.
    """

    def __init__(self, config, catalogue: Catalogue, users: Users | None):
        self.config = config
        self.logger = getLogger()
        self.dataset_name = config["dataset"]
        self.dataset_path = config["data_path"]
        self.uid_field, self.iid_field = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.label_field, self.time_field = config["LABEL_FIELD"], config["TIME_FIELD"]
        self.max_item_list_len = config["MAX_ITEM_LIST_LENGTH"]
        self.item_list_length_field = config["ITEM_LIST_LENGTH_FIELD"]
        self.user_feat = self.item_feat = None
        self.popularity = catalogue.train_count
        self.field2type: dict = {}
        self.field2source: dict = {}
        self.field2seqlen: dict = {}
        of_users = ["[PAD]"] if users is None else users.user_ids
        self.field2id_token = {self.uid_field: of_users, self.iid_field: catalogue.item_ids}
        sources = {self.uid_field: FeatureSource.USER_ID, self.iid_field: FeatureSource.ITEM_ID}
        for field, source in sources.items():
            self.set_field_property(field, FeatureType.TOKEN, source, 1)
        sequence = self.iid_field + config["LIST_SUFFIX"]
        self.set_field_property(
            sequence, FeatureType.TOKEN_SEQ, FeatureSource.INTERACTION, self.max_item_list_len
        )
        self.inter_feat = Interaction(
            dict(zip((self.uid_field, self.iid_field), _training_pairs(users), strict=True))
        )

    def train_counts(self, train) -> Tensor:
        """Training interactions of each item, [n_items] int64, whatever ``train`` is."""
        return self.popularity


def _training_pairs(users: Users | None) -> tuple[Tensor, Tensor]:
    if users is None:
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    user = torch.repeat_interleave(torch.arange(len(users.user_ids)), users.count)
    trains = users.part == TRAIN
    return user[trains], users.seen.items[trains]
