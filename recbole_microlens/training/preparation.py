"""Splits a dataset and builds the three loaders of a run."""

from __future__ import annotations

from logging import getLogger

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.utils import get_dataloader
from recbole.sampler import KGSampler
from recbole.utils import ModelType
from torch import Tensor

from recbole_microlens.compat.sample_numbers import numbers_as_ranges, shuffle_without_a_list
from recbole_microlens.data.dataloader import ContentTrainDataLoader
from recbole_microlens.data.media import item_reader
from recbole_microlens.data.sampling import PHASES, create_samplers
from recbole_microlens.data.sequences import take
from recbole_microlens.data.stored_samples import StoredSamples
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.loaders import (
    HistoryMaskedDataLoader,
    RankingDataLoader,
    UserRankingDataLoader,
)

_USERS_OF = {"valid": "eval_users", "test": "test_users"}


def prepare_data(config, dataset, datasets: list | None = None):
    """Split the dataset and build the loaders of training, validation and test.

    Follows ``recbole.data.data_preparation`` step by step, but never loads a pickled loader, and puts in ours
    where the protocol asks for them.

    Parameters
    ----------
    config, dataset : Config, Dataset
    datasets : list, optional
        Its parts for training, validation and test, as ``dataset.build()`` gives them once.
    """
    datasets = datasets or dataset.build()
    samplers = create_samplers(config, dataset, datasets)
    with numbers_as_ranges():
        train = shuffle_without_a_list(_train_loader(config, dataset, datasets[0], samplers[0]))
        valid, test = (_eval_loader(config, phase, datasets, samplers) for phase in PHASES[1:])
    getLogger().info(
        f"{len(train._dataset)} training samples in batches of {config['train_batch_size']}; "
        f"{len(valid._dataset)} validation and {len(test._dataset)} test targets"
    )
    return train, valid, test


def _some_users(dataset, number: int | None, seed: int):
    """The dataset with the interactions of some users, drawn by the seed; of all where there are no more."""
    if number is None:
        return dataset
    generator = torch.Generator().manual_seed(seed)
    if isinstance(dataset.inter_feat, StoredSamples):
        rows = dataset.inter_feat.of_some_users(number, generator)
    else:
        rows = _rows_of_some_users(dataset.inter_feat[dataset.uid_field], number, generator)
    return dataset if rows is None else dataset.copy(take(dataset.inter_feat, rows))


def _rows_of_some_users(users: Tensor, number: int, generator: torch.Generator) -> Tensor | None:
    distinct = users.unique()
    if number >= len(distinct):
        return None
    drawn = torch.randperm(len(distinct), generator=generator)[:number]
    return torch.isin(users, distinct[drawn]).nonzero()[:, 0]


def _train_loader(config, dataset, train, sampler):
    if config.is_content_model:
        reader = item_reader(config, train)
        return ContentTrainDataLoader(config, train, sampler, reader, shuffle=config["shuffle"])
    loader_class = get_dataloader(config, "train")
    if (config["train_neg_sample_args"] or {}).get("dynamic") and not hasattr(loader_class, "get_model"):
        raise MicroLensError(
            f"train_neg_sample_args: {config['model']} is trained on whole users and draws no negatives, "
            "`dynamic` or not. Leave it out."
        )
    if config["MODEL_TYPE"] != ModelType.KNOWLEDGE:
        return loader_class(config, train, sampler, shuffle=config["shuffle"])
    arguments = config["train_neg_sample_args"]
    kg_sampler = KGSampler(dataset, arguments["distribution"], arguments["alpha"])
    return loader_class(config, train, sampler, kg_sampler, shuffle=True)


def _eval_loader(config, phase: str, datasets: list, samplers):
    loader_class = get_dataloader(config, phase)
    number = PHASES.index(phase)
    ranked = _some_users(datasets[number], config[_USERS_OF[phase]], config["seed"])
    if loader_class is not FullSortEvalDataLoader:
        return loader_class(config, ranked, samplers[number], shuffle=False)
    if config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
        # A repeatable sampler knows of no used items, so that nothing but the positives counts as seen.
        seen = datasets[number if config["repeatable"] else 0 : number + 1]
        return UserRankingDataLoader(config, ranked, seen, earlier=datasets[:number])
    ranking_class = HistoryMaskedDataLoader if config["mask_history"] else RankingDataLoader
    return ranking_class(config, ranked)
