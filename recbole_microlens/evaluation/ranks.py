"""The rank of every test target, as a small file of the run folder: ``ranks.npz``."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens import distributed, files
from recbole_microlens.data.sequences import HISTORY_LENGTH
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.growing_rows import GrowingRows

RANKS = "ranks.npz"
_UNKNOWN = -1


@dataclass(frozen=True)
class Ranks:
    """The targets of a full ranking, in the order of the users that were ranked.

    Attributes
    ----------
    user, item : np.ndarray
        Original ids, [targets] of fixed-width text.
    rank : np.ndarray
        [targets] int32, 1 = best, among all items that may be recommended to the user. As far as the largest
        cut-off it is the place in the list that the metrics are computed from; beyond it a target stands in
        the middle of the items with the same score.
    train_count : np.ndarray
        Training interactions of the target's item, [targets] int64.
    history_length : np.ndarray
        The user's interactions before the target, [targets] int32.
    row : np.ndarray
        Number of the ranked list that the target belongs to, [targets] int32, ascending: a metric is a mean
        over lists. Sequential models rank a list for each target, the others one for each user.
    """

    user: np.ndarray
    item: np.ndarray
    rank: np.ndarray
    train_count: np.ndarray
    history_length: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.rank)


_KINDS = {"user": "U", "item": "U", "rank": "i", "train_count": "i", "history_length": "i", "row": "i"}
_TYPES = {"rank": np.int32, "train_count": np.int64, "history_length": np.int32, "row": np.int32}

_DAMAGE = (OSError, ValueError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


class RankCollector:
    """Collects the ranks of targets while users are ranked.

    Parameters
    ----------
    dataset : Dataset
        RecBole's, for the original ids.
    counts : Tensor
        Training interactions of each item, [n_items] int64.
    """

    def __init__(self, dataset, counts: Tensor):
        self._user_field = dataset.uid_field
        self._tokens = [dataset.field2id_token[field] for field in (dataset.uid_field, dataset.iid_field)]
        self._counts = counts.cpu().numpy()
        self._batches = GrowingRows()
        self._lists = 0

    def collect(self, scores: Tensor, top: Tensor, interaction, positive_u: Tensor, positive_i: Tensor):
        """Keep the ranks of a batch.

        Parameters
        ----------
        scores : Tensor [B, n_items]
            Minus infinity where an item must not be recommended.
        top : Tensor [B, k], int64
            A user's top items, best first.
        interaction : Interaction
            The batch, with the users and, where it is known, the length of their history.
        positive_u, positive_i : Tensor [P], int64
            The targets as (row of the batch, item) pairs.
        """
        pairs = (positive_u.cpu() << 32 | positive_i.cpu()).unique()
        row, item = pairs >> 32, pairs & 0xFFFFFFFF
        rank = target_ranks(scores, top, row.to(scores.device), item.to(scores.device)).cpu()
        users = interaction[self._user_field].cpu()[row]
        if HISTORY_LENGTH in interaction:
            history = interaction[HISTORY_LENGTH].cpu()[row]
        else:
            history = torch.full_like(users, _UNKNOWN)
        # As of one process that ranks all: of several each ranks every world_size-th user.
        number = (row + self._lists) * distributed.world_size() + distributed.rank()
        self._lists += len(scores)
        self._batches.append(torch.stack([number, users, item, rank, history.long()], dim=1))

    def ranks(self) -> Ranks | None:
        """The ranks of all that was collected since the last call, by all processes; ``None`` if nothing
        was.
        """
        batches, self._batches, self._lists = self._batches, GrowingRows(), 0
        if not batches:
            return None
        rows = distributed.all_gather_rows(batches.joined()).numpy()
        number, user, item, rank, history = rows[np.argsort(rows[:, 0], kind="stable")].T
        users, items = self._tokens
        columns = {
            "rank": rank,
            "train_count": self._counts[item],
            "history_length": history,
            "row": number,
        }
        plain = {name: column.astype(_TYPES[name]) for name, column in columns.items()}
        return Ranks(_text(users, user), _text(items, item), **plain)


def target_ranks(scores: Tensor, top: Tensor, row: Tensor, item: Tensor) -> Tensor:
    """Rank of each target among all items, 1 = best.

    Parameters
    ----------
    scores : Tensor [B, n_items]
    top : Tensor [B, k], int64
        The list that metrics are computed from: a target in it has its place there.
    row, item : Tensor [P], int64
        The targets, each once.

    Returns
    -------
    Tensor [P], int64
        Beyond the list, the middle of the places that the items with the target's score have.
    """
    place = (top[row] == item.unsqueeze(1)).long()  # [P, k]
    parts = zip(row.split(len(scores)), item.split(len(scores)), strict=True)
    beyond = torch.cat([_middle_ranks(scores, *part) for part in parts]).clamp(min=top.size(1) + 1)
    return torch.where(place.any(dim=1), place.argmax(dim=1) + 1, beyond)


def _middle_ranks(scores: Tensor, row: Tensor, item: Tensor) -> Tensor:
    """With G scores larger, L smaller and E equal, of n: G + (E + 1) / 2 = (n + 1 + G - L) / 2, rounded."""
    is_every_row = len(row) == len(scores) and torch.equal(row, torch.arange(len(row), device=row.device))
    of_row = scores if is_every_row else scores[row]
    own = of_row.gather(1, item.unsqueeze(1))  # [P, 1]
    larger_less_smaller = (of_row - own).sign_().sum(1, dtype=torch.float32)
    odd = ~torch.isfinite(own[:, 0])  # The difference of two infinities is none.
    if odd.any():
        compared = (of_row[odd] > own[odd]).float() - (of_row[odd] < own[odd]).float()
        larger_less_smaller[odd] = compared.sum(1)
    return (larger_less_smaller.long() + scores.size(1) + 1) // 2


def write_ranks(folder: Path, ranks: Ranks) -> None:
    """Write ``ranks.npz`` in a run folder, whole or not at all."""
    with files.written_whole(folder / RANKS, "wb") as file:
        np.savez_compressed(file, **vars(ranks))


def read_ranks(folder: Path) -> Ranks:
    """The ranks of a run's test targets.

    Raises
    ------
    MicroLensError
        The folder has no such file, or it is damaged.
    """
    path = folder / RANKS
    if not path.is_file():
        raise MicroLensError(
            f"{folder} has no {RANKS}, the ranks of its test targets: it is unfinished, or of an earlier "
            "version, or was tested without full ranking. Run the model again under full ranking."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = {field.name: _array(archive, field.name) for field in fields(Ranks)}
        _check(arrays)
    except _DAMAGE as error:
        raise MicroLensError(
            f"{path} is damaged ({error}). Run the model again, or leave the run out."
        ) from error
    return Ranks(**arrays)


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _check(arrays: dict[str, np.ndarray]) -> None:
    length = arrays["rank"].shape
    for name, values in arrays.items():
        if values.ndim != 1 or values.shape != length or values.dtype.kind != _KINDS[name]:
            raise ValueError(f"{name} is {values.dtype} of shape {list(values.shape)}")
    if len(arrays["rank"]) == 0 or arrays["rank"].min() < 1 or arrays["train_count"].min() < 0:
        raise ValueError("no targets, a rank below 1, or a negative count")
    if (np.diff(arrays["row"]) < 0).any():
        raise ValueError("its lists are not in order")


def _text(tokens, numbers: np.ndarray) -> np.ndarray:
    known = np.asarray(tokens) if isinstance(tokens, list | tuple) else tokens
    return np.array([str(token) for token in known[numbers]])
