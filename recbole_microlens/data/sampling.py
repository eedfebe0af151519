"""RecBole's negative samplers, draw for draw, without a Python set for each user."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from recbole.sampler import RepeatableSampler, Sampler
from torch import Tensor

PHASES = ("train", "valid", "test")


class _OfKnownItems:
    """Mixin before a sampler of RecBole's: it draws known items alone.

    Parameters
    ----------
    known : np.ndarray [items], int, optional
        What may be drawn: the items that are not cold, see :mod:`~recbole_microlens.data.cold_items`; all by
        default.
    """

    def __init__(self, *arguments, known: np.ndarray | None = None):
        self.known = known  # RecBole's __init__ counts what may be drawn.
        super().__init__(*arguments)

    def _uni_sampling(self, sample_num):
        if self.known is None:
            return super()._uni_sampling(sample_num)  # type: ignore[misc]
        return self.known[np.random.randint(0, len(self.known), sample_num)]

    def _get_candidates_list(self):
        found = super()._get_candidates_list()  # type: ignore[misc]
        return found if self.known is None else list(np.array(found)[np.isin(found, self.known)])


class UserSampler(_OfKnownItems, Sampler):
    """RecBole's sampler of items that a user has not used, up to and including the phase.

    ``used_ids`` of a phase are the distinct (user, item) pairs, each one number, sorted.
    """

    def get_used_ids(self) -> dict[str, np.ndarray]:
        pairs, used = np.empty(0, dtype=np.int64), {}
        for phase, dataset in zip(self.phases, self.datasets, strict=True):
            users = dataset.inter_feat[self.uid_field].numpy()
            items = dataset.inter_feat[self.iid_field].numpy()
            used[phase] = pairs = np.union1d(pairs, users * self.item_num + items)
        drawable = self.item_num - 1
        if self.known is not None:  # for training alone, which has no other items
            drawable, pairs = len(self.known), used[self.phases[0]]
        if np.bincount(pairs // self.item_num, minlength=1).max() >= drawable:
            raise ValueError(
                "some users have interacted with all items, so no negative item can be drawn for them; "
                "set `user_inter_num_interval` to leave them out"
            )
        return used

    def sample_by_key_ids(self, key_ids, num: int) -> Tensor:
        """``num`` items for each user in ``key_ids`` [B], all first ones first: [num * B] int64."""
        offsets = np.tile(np.asarray(key_ids, dtype=np.int64), num) * self.item_num

        def is_used(drawn: np.ndarray, items: np.ndarray) -> np.ndarray:
            wanted = offsets[drawn] + items
            found = np.searchsorted(self.used_ids, wanted).clip(max=len(self.used_ids) - 1)
            return self.used_ids[found] == wanted

        return _draw_unused(self.sampling, len(offsets), is_used)


class TargetSampler(_OfKnownItems, RepeatableSampler):
    """RecBole's sampler of items other than the sample's own target, for sequential models."""

    def get_used_ids(self) -> None:
        """Nothing: what a user has used does not matter here."""

    def sample_by_user_ids(self, user_ids, item_ids, num: int) -> Tensor:
        """``num`` items for each target in ``item_ids`` [B], all first ones first: [num * B] int64."""
        targets = np.tile(np.asarray(item_ids), num)
        return _draw_unused(self.sampling, len(targets), lambda drawn, items: items == targets[drawn])


def create_samplers(config, dataset, parts: list) -> list:
    """The samplers of training, validation and test, or None where nothing is drawn.

    Follows ``recbole.data.utils.create_samplers``; full ranking draws nothing.
    """
    base = None
    samplers: list = []
    for phase in PHASES:
        arguments = config[f"{phase}_neg_sample_args"]
        distribution = arguments["distribution"]
        if distribution == "none" or phase != "train" and arguments["sample_num"] == "none":
            samplers.append(None)
            continue
        alpha = arguments["alpha"] if phase == "train" else 1.0
        sampler = base or _sampler(config["repeatable"], dataset, parts, distribution, alpha)
        sampler.set_distribution(distribution)
        base = sampler if phase == "train" else base
        samplers.append(sampler.set_phase(phase))
    return samplers


def _sampler(repeatable: bool, dataset, parts: list, distribution: str, alpha: float):
    is_cold = getattr(dataset, "is_cold", None)
    known = None if is_cold is None else (~is_cold).nonzero()[1:, 0].numpy()  # without padding
    if repeatable:
        return TargetSampler(list(PHASES), dataset, distribution, alpha, known=known)
    return UserSampler(list(PHASES), parts, distribution, alpha, known=known)


def _draw_unused(
    sampling: Callable[[int], np.ndarray],
    total: int,
    is_used: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Tensor:
    """Draw ``total`` items, and again those that are used, until none is."""
    values, drawn = np.zeros(total, dtype=np.int64), np.arange(total)
    while len(drawn):
        values[drawn] = items = sampling(len(drawn))
        drawn = drawn[is_used(drawn, items)]
    return torch.from_numpy(values)
