"""Side features of items, added to their id embedding: groups by popularity, and tags.

Source: MicroLens (arXiv 2309.15379), appendix I and Table 11. Its words are "summing and averaging"; here
they are added, without the division by their number.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from recbole_microlens.data.item_columns import read_tags
from recbole_microlens.items.side_feature import SideFeature

GROUPS = 10


def popularity_groups(train_counts: Tensor) -> Tensor:
    """Ten equal groups of items by training interactions: 1 is the most popular tenth, 10 the least.

    Parameters
    ----------
    train_counts : Tensor [n_items]
        Index 0 is padding.

    Returns
    -------
    Tensor [n_items, 1], int64
        0 for padding. Of items that are equally popular, the one with the smaller number counts as more so.
    """
    n_items = len(train_counts) - 1
    groups = torch.zeros(n_items + 1, 1, dtype=torch.int64)
    order = train_counts[1:].argsort(descending=True, stable=True) + 1
    groups[order, 0] = torch.arange(n_items) * GROUPS // n_items + 1
    return groups


def tags_of(tags: dict[str, list[str]], tokens: list[str]) -> Tensor:
    """The numbers of each item's tags, from 1 on in alphabetical order; 0 where it has fewer than others.

    Parameters
    ----------
    tags : dict[str, list[str]]
        By original item id; an item that is not there has none.
    tokens : list[str]
        Original item id of each internal id; index 0 is padding.

    Returns
    -------
    Tensor [n_items, most], int64
    """
    of_items = [tags.get(str(token), []) for token in tokens[1:]]
    number = {tag: place for place, tag in enumerate(sorted({tag for of in of_items for tag in of}), start=1)}
    values = torch.zeros(len(tokens), max(map(len, of_items), default=1) or 1, dtype=torch.int64)
    for item, found in enumerate(of_items, start=1):
        values[item, : len(found)] = torch.tensor([number[tag] for tag in found], dtype=torch.int64)
    return values


def _popularity(config, dataset) -> Tensor:
    counts = getattr(dataset, "popularity", None)
    return popularity_groups(dataset.train_counts(dataset.inter_feat) if counts is None else counts)


def _tags(config, dataset) -> Tensor:
    path = Path(config["data_path"]) / f"{config['dataset']}.item"
    tags = read_tags(path, config["field_separator"], config["ITEM_ID_FIELD"], config["seq_separator"])
    return tags_of(tags, list(dataset.field2id_token[dataset.iid_field]))


# By the word of the setting: (settings, training dataset) -> values [n_items, most].
SIDE_FEATURES: dict[str, Callable[..., Tensor]] = {"pop": _popularity, "tag": _tags}


def create_side_features(config, dataset, ids: nn.Embedding) -> nn.ModuleDict:
    """The side features that ``side_features`` names.

    Parameters
    ----------
    dataset : Dataset
        The training dataset: popularity is that of the training interactions alone.
    ids : nn.Embedding
        What they are added to; they start as widely spread.

    Raises
    ------
    MicroLensError
        The dataset has no tags.
    """
    wanted = config["side_features"] or ()
    std = float(ids.weight.detach().std()) if wanted else 0.0
    return nn.ModuleDict(
        {
            f"by_{name}": SideFeature(SIDE_FEATURES[name](config, dataset), ids.embedding_dim, std)
            for name in wanted
        }
    )
