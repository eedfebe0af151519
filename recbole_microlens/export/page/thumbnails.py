"""A small picture of each item: its cover, or the middle frame of its video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import shards
from recbole_microlens.media.decode import MediaError
from recbole_microlens.media.sources import read_item
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.workers import Failure, available_cores, run_in_processes

if TYPE_CHECKING:
    from recbole_microlens.export.given_items import NewItem
    from recbole_microlens.export.recommender import Recommender

SIZE = 160
QUALITY = 64  # three hundred photographs of 160 x 160 then take less than 3 MB of a page
_STORES = ("cover.lmdb", "video.lmdb")


class Thumbnails:
    """Pictures of a model's items from its dataset's stores, and of new items from their files.

    Any number of threads may ask.

    Parameters
    ----------
    model : Recommender
        Its ``data_path`` may be gone: no item has a picture then.
    size : int, default 160
        Pixels of the longest side; a smaller stored frame stays as it is.

    Attributes
    ----------
    folder : Path
        Of the dataset, where the stores are looked for.
    stores : list of Path
        Those found.
    """

    def __init__(self, model: Recommender, size: int = SIZE):
        self.size = size
        self.folder = Path(model.config["data_path"])
        self._stores = list(_opened(self.folder))
        self._given: dict[str, bytes] = {}

    @property
    def stores(self) -> list[Path]:
        return [store.path for store in self._stores]

    def of(self, item_id: str) -> bytes | None:
        """The picture of an item as JPEG; ``None`` where there is none."""
        if item_id in self._given:
            return self._given[item_id]
        for store in list(self._stores):
            try:
                jpeg = self._from_store(store, item_id)
            except MicroLensError as error:
                getLogger(__name__).warning("an item is shown without its picture: %s", error)
                continue
            if jpeg is not None:
                return jpeg
        return None

    def add(self, items: Iterable[NewItem]) -> None:
        """Make pictures of new items from their files, which may be gone afterwards.

        The files are decoded in processes of their own. An item that has none, or one that cannot be
        decoded, has no picture.
        """
        tasks = [task for item in items for task in _tasks(item, self.size)]
        workers = min(available_cores(), len(tasks))
        for (item_id, _, path, _), jpeg in run_in_processes(_read, tasks, workers):
            if isinstance(jpeg, Failure):
                getLogger(__name__).warning("%s has no picture: %s: %s", item_id, path, jpeg.reason)
            else:
                self._given[item_id] = jpeg

    def _from_store(self, store: MediaStore, item_id: str) -> bytes | None:
        middle = store.meta.num_frames // 2
        size = min(self.size, store.meta.size)
        frames = store.read(item_id, size, slice(middle, middle + 1))
        return None if frames is None else _jpeg(frames[0])


def _opened(folder: Path) -> Iterator[MediaStore]:
    for name in _STORES:
        if shards.is_there(folder / name):
            try:
                yield MediaStore(folder / name)
            except MicroLensError as error:
                getLogger(__name__).warning("pictures are shown without a store: %s", error)


def _tasks(item: NewItem, size: int) -> list[tuple[str, str, str, int]]:
    """The file that an item's picture is made of: its cover before its video."""
    if item.cover is not None:
        return [(item.item_id, "covers", str(item.cover), size)]
    if item.video is not None:
        return [(item.item_id, "videos", str(item.video), size)]
    return []


def _read(task: tuple[str, str, str, int]) -> bytes | Failure:
    """Runs in a process of its own, which a damaged file may end."""
    _, kind, path, size = task
    try:
        frames = read_item(kind, [path], 1, 1, size)
    except MediaError as error:
        return Failure(str(error))
    return _jpeg(frames[0])


def _jpeg(frame: np.ndarray) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), QUALITY, "RGB", colorsubsampling="420")
