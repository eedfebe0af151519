"""Loaders: batches that carry the media of their unique items, and evaluation that masks a user's history."""

from __future__ import annotations

from logging import getLogger

import torch

from recbole_microlens import compat
from recbole_microlens.data.dataset import HISTORY_LENGTH
from recbole_microlens.data.media import ItemReader, item_reader
from recbole_microlens.items.media_batch import ItemMedia

compat.fix_recbole()
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.data.utils import create_samplers, get_dataloader  # noqa: E402
from recbole.sampler import KGSampler  # noqa: E402
from recbole.utils import ModelType  # noqa: E402


class ContentBatch(Interaction):
    """A batch of sequences and the media of its distinct items; moves to a device as one.

    Attributes
    ----------
    media : :class:`ItemMedia` of every item in the batch's sequences and targets, padding left out.
    """

    def __init__(self, interaction: dict, media: ItemMedia):
        super().__init__(interaction)
        self.media = media

    def to(self, device, selected_field=None) -> ContentBatch:
        fields = {name: value.to(device, non_blocking=True) for name, value in self.interaction.items()}
        return ContentBatch(fields, self.media.to(device))

    def pin_memory(self) -> ContentBatch:
        fields = {name: value.pin_memory() for name, value in self.interaction.items()}
        return ContentBatch(fields, self.media.pin_memory())


class ContentTrainDataLoader(TrainDataLoader):
    """RecBole's training loader whose workers also read and decode the media of each batch."""

    def __init__(self, config, dataset, sampler, reader: ItemReader, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self.reader = reader
        self.pin_memory = torch.cuda.is_available()
        self._workers = self.num_workers
        self._item_fields = (dataset.iid_field, dataset.iid_field + config["LIST_SUFFIX"])

    def __iter__(self):
        # Without media there is nothing to read ahead.
        self.num_workers = self._workers if self.reader.readers else 0
        return super().__iter__()

    def collate_fn(self, index) -> ContentBatch:
        batch = super().collate_fn(index)
        items = torch.cat([batch[field].flatten() for field in self._item_fields]).unique()
        return ContentBatch(batch.interaction, self.reader.read(items[items != 0]))


class HistoryMaskedEvalDataLoader(FullSortEvalDataLoader):
    """RecBole's full-ranking loader for sequential models, with each user's history to leave out.

    RecBole gives sequential models no history. Here it is every interaction of the user before the target,
    however long; a target that the user has seen before stays in.
    """

    def collate_fn(self, index):
        interaction, _, positive_u, positive_i = super().collate_fn(index)
        users = interaction[self.uid_field]
        rows, items = self._dataset.user_items.before(users, interaction[HISTORY_LENGTH])
        unseen = items != positive_i[rows]
        return interaction, (rows[unseen], items[unseen]), positive_u, positive_i


def prepare_data(config, dataset):
    """Split the dataset and build the loaders of training, validation and test.

    Follows ``recbole.data.data_preparation`` step by step, but never loads a pickled loader, and puts in ours
    where the protocol asks for them.
    """
    datasets = dataset.build()
    samplers = create_samplers(config, dataset, datasets)
    train = _train_loader(config, dataset, datasets[0], samplers[0])
    valid, test = (
        _eval_class(config, phase)(config, part, sampler, shuffle=False)
        for phase, part, sampler in zip(("valid", "test"), datasets[1:], samplers[1:], strict=True)
    )
    getLogger().info(
        f"{len(train._dataset)} training samples in batches of {config['train_batch_size']}; "
        f"{len(valid._dataset)} validation and {len(test._dataset)} test targets"
    )
    return train, valid, test


def _train_loader(config, dataset, train, sampler):
    if config["item_modality"] is not None:
        reader = item_reader(config, train)
        return ContentTrainDataLoader(config, train, sampler, reader, shuffle=config["shuffle"])
    loader_class = get_dataloader(config, "train")
    if config["MODEL_TYPE"] != ModelType.KNOWLEDGE:
        return loader_class(config, train, sampler, shuffle=config["shuffle"])
    arguments = config["train_neg_sample_args"]
    kg_sampler = KGSampler(dataset, arguments["distribution"], arguments["alpha"])
    return loader_class(config, train, sampler, kg_sampler, shuffle=True)


def _eval_class(config, phase: str) -> type:
    loader_class = get_dataloader(config, phase)
    masks = config["mask_history"] and config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    return HistoryMaskedEvalDataLoader if masks and loader_class is FullSortEvalDataLoader else loader_class
