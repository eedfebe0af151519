"""How likely each item is to be in a training sample."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_shares(config, dataset) -> Tensor:
    """The probability that a training sample contains an item: in its input, as its target, or as a negative
    that is drawn for it.

    Parameters
    ----------
    dataset : SequentialProtocolDataset
        The training dataset.

    Returns
    -------
    Tensor [n_items], float64
        0 for padding.
    """
    shares = dataset.samples_with_item().double() / max(len(dataset), 1)
    drawn = _drawn_negatives(config)
    if drawn:
        weights = _weights(config, dataset)
        shares = 1 - (1 - shares) * (1 - weights / weights.sum().clamp(min=1)) ** drawn
    shares[0] = 0
    return shares


def _drawn_negatives(config) -> int:
    """Negatives of a sample whose content is read; a cross-entropy looks at none."""
    arguments = config["train_neg_sample_args"] or {}
    number, distribution = arguments.get("sample_num", 1), arguments.get("distribution", "uniform")
    is_drawn = isinstance(number, int) and distribution not in (None, "none", "None")
    return number if is_drawn and arguments and config["loss_type"] != "CE" else 0


def _weights(config, dataset) -> Tensor:
    """What the probability that an item is drawn as a negative is proportional to, [n_items]."""
    arguments = config["train_neg_sample_args"]
    if arguments.get("distribution") != "popularity":
        weights = torch.ones(dataset.item_num, dtype=torch.float64)
    else:
        alpha = arguments.get("alpha")
        counts = torch.bincount(dataset.inter_feat[dataset.iid_field], minlength=dataset.item_num)
        weights = counts.double() ** (alpha if isinstance(alpha, int | float) else 1.0)
    weights[0] = 0
    return weights
