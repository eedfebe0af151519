"""Original item ids of a converted dataset, for the builds that go through all of its items."""

from pathlib import Path

import pandas as pd

from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.atomic_check import check_atomic
from recbole_microlens.release.names import check_dataset_name
from recbole_microlens.release.sequence_store import SequenceStore, has_store, store_folder


def read_item_ids(folder: Path, dataset: str) -> list[str]:
    """Ids of all items of ``<folder>/<dataset>.item``; where there is none, of ``.inter`` or of the sequence
    store.

    Raises
    ------
    MicroLensError
        The name cannot be that of a dataset, the dataset does not exist, the file has no ``item_id:token``
        column, or a row cannot be read.
    """
    check_dataset_name(dataset)
    is_stored = has_store(folder, dataset)
    if not (folder / f"{dataset}.inter").is_file() and not is_stored:
        raise MicroLensError(
            f"Dataset {dataset} is not in {folder}. First run: recbole-microlens convert RELEASE_FOLDER "
            f"--dataset {dataset} --data-path {folder.parent}"
        )
    item_file = folder / f"{dataset}.item"
    if not item_file.is_file() and is_stored:
        return list(SequenceStore.open(store_folder(folder, dataset)).item_ids)
    path = item_file if item_file.is_file() else folder / f"{dataset}.inter"
    check_atomic(path, ids=("item_id",), distinct="item_id" if path == item_file else None, loaded=())
    try:
        # With CSV quotes, as RecBole reads it: an id that holds a quote is written in quotes.
        column = pd.read_csv(path, sep="\t", usecols=["item_id:token"], dtype=str, keep_default_na=False)
    except ValueError as error:
        raise MicroLensError(
            f"{path}: no column item_id:token ({error}). Convert the release again."
        ) from error
    return column["item_id:token"].drop_duplicates().tolist()
