"""Features of all items by several processes or machines: the share of each, and one file of all shares."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import FeatureFile, open_features, written_features
from recbole_microlens.media.shards import Shard

_OF_A_SHARD = ("format", "item_ids", "shard", "without_media")
_ROWS = 4096


def share_of_items(tokens: np.ndarray, shard: Shard, batch_size: int) -> np.ndarray:
    """The items of a shard: whole batches, the same ones that a single process would encode at once, so that
    rows do not differ in their last bits.

    Parameters
    ----------
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    batch_size : int
        Items encoded at once.

    Returns
    -------
    np.ndarray
        As ``tokens``, padding first, of the shard's items alone.

    Raises
    ------
    MicroLensError
        There are fewer batches than shards.
    """
    batches = -(-(len(tokens) - 1) // batch_size)
    if batches < shard.count:
        raise MicroLensError(
            f"--shard {shard}: {len(tokens) - 1} items are only {batches} batches of {batch_size}. Choose at "
            f"most {batches} parts, or a smaller --batch-size."
        )
    first, end = (batches * number // shard.count for number in (shard.number - 1, shard.number))
    return np.concatenate([tokens[:1], tokens[1:][first * batch_size : end * batch_size]])


def folder_of(path: Path) -> Path:
    """The folder of the shards of a file of features."""
    return path.with_name(path.name + ".shards")


def shard_file(path: Path, shard: Shard) -> Path:
    """The file of one shard of a file of features."""
    return folder_of(path) / f"{shard.name}.npy"


def merge_features(path: Path, item_ids: list[str], keep_shards: bool = False) -> int:
    """Join all shards of a file of features, and remove them once it is written.

    Parameters
    ----------
    path : Path
        The ``.npy`` file to write; its shards lie in the folder of this name and ``.shards``.
    item_ids : list[str]
        Original ids of the dataset's items, in their order.
    keep_shards : bool
        Leave the shards where they are.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    MicroLensError
        A shard is missing, or they are not of one extraction of this dataset.
    """
    shards = _all_shards(path)
    abouts = [json.loads(each.path.with_suffix(".json").read_text(encoding="utf-8")) for each in shards]
    found = [item for each in shards for item in each.item_ids or ()]
    if found != item_ids:
        raise MicroLensError(
            f"{folder_of(path)}: its shards are not of the {len(item_ids)} items that the dataset has now. "
            "Extract them again."
        )
    said = [{key: about[key] for key in about if key not in _OF_A_SHARD} for about in abouts]
    for number, other in enumerate(said, start=1):
        differing = [key for key in {**said[0], **other} if said[0].get(key) != other.get(key)]
        if differing or shards[number - 1].dim != shards[0].dim:
            raise MicroLensError(
                f"{folder_of(path)}: shard {number} differs from shard 1 in "
                f"{', '.join(differing) or 'its size'}. Extract one of them again."
            )
    without = [item for about in abouts for item in about["without_media"]]
    bar = tqdm(total=len(item_ids), desc="merge", unit="item", delay=2, disable=None)
    with (
        bar,
        written_features(path, item_ids, shards[0].dim, {**said[0], "without_media": without}) as append,
    ):
        for each in shards:
            for start in range(0, len(each.rows), _ROWS):
                append(each.rows[start : start + _ROWS])
                bar.update(len(each.rows[start : start + _ROWS]))
    if not keep_shards:
        shutil.rmtree(folder_of(path))
    return len(item_ids)


def _all_shards(path: Path) -> list[FeatureFile]:
    names = (re.fullmatch(r"(\d+)-of-(\d+)\.npy", file.name) for file in folder_of(path).glob("*.npy"))
    counts = sorted({int(name[2]) for name in names if name})
    if len(counts) != 1:
        held = f"shards of {' and of '.join(map(str, counts))}" if counts else "no shards"
        raise MicroLensError(
            f"{folder_of(path)}: holds {held}. Extract all of one division with --shard I/N, and remove "
            "others."
        )
    files = [shard_file(path, Shard(number, counts[0])) for number in range(1, counts[0] + 1)]
    lacking = [str(number) for number, file in enumerate(files, start=1) if not file.is_file()]
    if lacking:
        raise MicroLensError(
            f"{folder_of(path)}: of {counts[0]} shards these are missing: {', '.join(lacking[:8])}. Extract "
            f"them with --shard {lacking[0]}/{counts[0]}."
        )
    return [open_features(file) for file in files]
