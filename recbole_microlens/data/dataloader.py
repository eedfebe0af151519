"""Loaders: batches that carry the media of their unique items, and the three loaders of a run."""

from __future__ import annotations

from logging import getLogger

import torch

from recbole_microlens import compat
from recbole_microlens.data.media import MediaReader, media_reader
from recbole_microlens.data.ranking import HistoryMaskedDataLoader, RankingDataLoader, UserRankingDataLoader
from recbole_microlens.data.sampling import PHASES, create_samplers
from recbole_microlens.items.media_batch import ItemMedia

compat.fix_recbole()
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader  # noqa: E402
from recbole.data.interaction import Interaction  # noqa: E402
from recbole.data.utils import get_dataloader  # noqa: E402
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

    def __init__(self, config, dataset, sampler, reader: MediaReader, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self.reader = reader
        self.pin_memory = torch.cuda.is_available()
        self._item_fields = (dataset.iid_field, dataset.iid_field + config["LIST_SUFFIX"])

    def collate_fn(self, index) -> ContentBatch:
        batch = super().collate_fn(index)
        items = torch.cat([batch[field].flatten() for field in self._item_fields]).unique()
        return ContentBatch(batch.interaction, self.reader.read(items[items != 0]))


def prepare_data(config, dataset):
    """Split the dataset and build the loaders of training, validation and test.

    Follows ``recbole.data.data_preparation`` step by step, but never loads a pickled loader, and puts in ours
    where the protocol asks for them.
    """
    datasets = dataset.build()
    samplers = create_samplers(config, dataset, datasets)
    train = _train_loader(config, dataset, datasets[0], samplers[0])
    valid, test = (_eval_loader(config, phase, datasets, samplers) for phase in PHASES[1:])
    getLogger().info(
        f"{len(train._dataset)} training samples in batches of {config['train_batch_size']}; "
        f"{len(valid._dataset)} validation and {len(test._dataset)} test targets"
    )
    return train, valid, test


def _train_loader(config, dataset, train, sampler):
    if config["item_modality"] is not None:
        reader = media_reader(config, train)
        return ContentTrainDataLoader(config, train, sampler, reader, shuffle=config["shuffle"])
    loader_class = get_dataloader(config, "train")
    if config["MODEL_TYPE"] != ModelType.KNOWLEDGE:
        return loader_class(config, train, sampler, shuffle=config["shuffle"])
    arguments = config["train_neg_sample_args"]
    kg_sampler = KGSampler(dataset, arguments["distribution"], arguments["alpha"])
    return loader_class(config, train, sampler, kg_sampler, shuffle=True)


def _eval_loader(config, phase: str, datasets: list, samplers):
    loader_class = get_dataloader(config, phase)
    number = PHASES.index(phase)
    if loader_class is not FullSortEvalDataLoader:
        return loader_class(config, datasets[number], samplers[number], shuffle=False)
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        # A repeatable sampler knows of no used items, so that nothing but the positives counts as seen.
        seen = datasets[number if config["repeatable"] else 0 : number + 1]
        return UserRankingDataLoader(config, datasets[number], seen)
    ranking_class = HistoryMaskedDataLoader if config["mask_history"] else RankingDataLoader
    return ranking_class(config, datasets[number])
