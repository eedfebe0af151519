"""Make one file of the shards of a store, for those who want one; it is read no faster."""

from __future__ import annotations

import shutil
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import shards
from recbole_microlens.media.environments import reading
from recbole_microlens.media.partial import PartialStore
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.store_meta import StoreMeta, bare_parameters, records


def merge(path: str | Path, keep_shards: bool = False, progress: bool = True) -> StoreMeta:
    """Join all shards of a store into its one file, and remove them once that file holds the same.

    A merge that was stopped or killed continues where it was.

    Parameters
    ----------
    path : str | Path
        ``video.lmdb``, ``cover.lmdb`` or ``audio.lmdb`` of a dataset folder, beside which the folder of its
        shards lies.
    keep_shards : bool
        Leave the shards where they are.

    Returns
    -------
    StoreMeta
        What the store says of itself; its identity is what it was in shards.

    Raises
    ------
    MicroLensError
        There are no shards, or not all of them; or what was copied is not what they hold.
    """
    path = Path(path)
    folder = shards.folder_of(path)
    if not shards.one_count(path):
        raise MicroLensError(f"{folder}: there are no shards to merge. Build them with --shard I/N.")
    if not path.exists():
        _copy(MediaStore(path), path, progress)
    whole = MediaStore(path).meta
    identity = shards.identity_kept(path)
    if whole.identity != identity:
        raise MicroLensError(
            f"{path}: does not hold what the shards in {folder} hold. Remove the one that is not wanted: the "
            "file, or the folder."
        )
    if not keep_shards:
        for file in folder.glob("*.lmdb"):  # what says whose they are goes last
            file.unlink()
        shutil.rmtree(folder)
    return whole


def _copy(store: MediaStore, path: Path, progress: bool) -> None:
    partial = PartialStore(path, bare_parameters(store.meta), copy_from=None, fresh=False)
    bar = {"total": len(store), "initial": len(partial.item_ids), "unit": "item", "desc": "merge", "delay": 2}
    try:
        there = set(partial.item_ids)
        with (
            tqdm(**bar, disable=None if progress else True) as shown,
            reading(shards.folder_of(path)),
            records(store.environments()) as found,
        ):
            for key, value in found:
                item = key.decode()
                if item not in there:
                    partial.put(item, bytes(value))
                    shown.update()
        partial.finish()
    finally:
        partial.close()
