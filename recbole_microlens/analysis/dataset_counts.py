"""How often each item and each user of a converted dataset occurs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.atomic_check import check_atomic
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.sequence_store import SequenceStore, store_folder

_COLUMNS = ("item_id:token", "user_id:token")


def dataset_counts(data_path: Path, dataset: str) -> tuple[np.ndarray, np.ndarray]:
    """Interactions of each item and of each user, as the dataset was converted: nothing is dropped.

    Returns
    -------
    tuple[np.ndarray, np.ndarray]
        [items] and [users], int64.

    Raises
    ------
    MicroLensError
        There is no such dataset, a column is missing, or a row cannot be read.
    """
    folder = data_path / dataset
    read_item_ids(folder, dataset)
    path = folder / f"{dataset}.inter"
    if not path.is_file():
        return _counts_of_store(SequenceStore.open(store_folder(folder, dataset)))
    check_atomic(path, ids=("item_id", "user_id"), loaded=())
    try:
        table = pd.read_csv(path, sep="\t", usecols=list(_COLUMNS), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise MicroLensError(f"{path}: no column {_COLUMNS[0]} or {_COLUMNS[1]} ({error}).") from error
    items, users = (table[column].value_counts().to_numpy() for column in _COLUMNS)
    if not len(items):
        raise MicroLensError(f"{path} has no interactions. Convert the release again.")
    return items, users


def _counts_of_store(store: SequenceStore) -> tuple[np.ndarray, np.ndarray]:
    """Of a store of each user's latest interactions, items are counted among these, users among all."""
    items = np.bincount(store.items, minlength=store.manifest.items)
    users = np.diff(store.offsets) + (0 if store.earlier is None else store.earlier)
    return np.sort(items[items > 0])[::-1], np.sort(users[users > 0])[::-1]
