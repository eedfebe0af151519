"""Read the media of items from the store, in the processes that load batches."""

from __future__ import annotations

import csv
from logging import getLogger
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from recbole_microlens import distributed
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.modality import modalities
from recbole_microlens.media.store import MediaStore


class VideoReader:
    """Reads the frames of items by their internal ids; may be sent to worker processes.

    Parameters
    ----------
    store : an open store.
    tokens : original item id of each internal id, [n_items]; index 0 is padding.
    num_frames, size : frames of a clip and their height and width; the store must hold at least
        ``num_frames``.
    missing : what an item without media gives: ``zeros`` (black frames) or ``error``.
    """

    def __init__(self, store: MediaStore, tokens: np.ndarray, num_frames: int, size: int, missing: str):
        stored = store.meta.num_frames
        if num_frames > stored:
            raise MicroLensError(
                f"num_frames: {num_frames} are wanted, {store.path} holds {stored} an item. Set `num_frames` "
                f"to at most {stored}, or build the store again with --num-frames {num_frames}."
            )
        self.store = store
        self.tokens = tokens
        self.num_frames = num_frames
        self.size = size
        self.missing = missing
        self._first = (stored - num_frames) // 2

    @property
    def n_items(self) -> int:
        return len(self.tokens)

    def absent(self) -> np.ndarray:
        """Internal ids of the items that the store does not hold."""
        return np.array(
            [i for i in range(1, self.n_items) if str(self.tokens[i]) not in self.store], dtype=np.int64
        )

    def read(self, item_ids: Tensor) -> Tensor:
        """Frames of distinct items.

        Parameters
        ----------
        item_ids : [U] int64 internal ids, without padding.

        Returns
        -------
        uint8 [U, num_frames, size, size, 3]: the middle ``num_frames`` of the stored frames.
        """
        shape = (len(item_ids), self.num_frames, self.size, self.size, 3)
        pixels = np.zeros(shape, dtype=np.uint8)
        for row, item in enumerate(item_ids.tolist()):
            frames = self.store.read(str(self.tokens[item]), self.size)
            if frames is not None:
                pixels[row] = frames[self._first : self._first + self.num_frames]
            elif self.missing == "error":
                raise _missing_error(self.store.path, [str(self.tokens[item])])
        return torch.from_numpy(pixels)


class ItemReader:
    """Reads all that a model looks at; may be sent to worker processes.

    Parameters
    ----------
    n_items : number of items, padding (id 0) included.
    readers : by modality, an object whose ``read(item_ids [U])`` gives the content of distinct items,
        [U, ...]. Empty for a model that looks at ids alone.
    """

    def __init__(self, n_items: int, readers: dict[str, VideoReader]):
        self.n_items = n_items
        self.readers = readers

    def read(self, item_ids: Tensor) -> ItemMedia:
        """The content of distinct items, [U] int64 without padding."""
        return ItemMedia(item_ids, {name: reader.read(item_ids) for name, reader in self.readers.items()})

    def all_items(self, batch_size: int, workers: int) -> DataLoader:
        """A loader of every item once, in batches of :class:`ItemMedia`; of several processes, of its
        share.
        """
        return DataLoader(
            distributed.my_share(range(1, self.n_items)),
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=self._collate,
            pin_memory=torch.cuda.is_available(),
        )

    def _collate(self, item_ids: list[int]) -> ItemMedia:
        return self.read(torch.tensor(item_ids, dtype=torch.int64))


def item_reader(config, dataset) -> ItemReader:
    """The reader of a content model's dataset, after a look at what is missing.

    Raises
    ------
    MicroLensError
        A store is not there or too small; or items lack media and ``missing_media`` is ``error``.
    """
    readers = {name: _READERS[name](config, dataset) for name in modalities(config) if name in _READERS}
    return ItemReader(dataset.item_num, readers)


def _video_reader(config, dataset) -> VideoReader:
    store = MediaStore(Path(config["data_path"]) / "video.lmdb")
    tokens = np.asarray(dataset.field2id_token[dataset.iid_field])
    reader = VideoReader(store, tokens, config["num_frames"], config["frame_size"], config["missing_media"])
    _report_missing(reader, dataset)
    return reader


_READERS = {"video": _video_reader}


def _report_missing(reader: VideoReader, dataset) -> None:
    absent = reader.absent()
    if len(absent) == 0:
        return
    if reader.missing == "error":
        raise _missing_error(reader.store.path, [str(token) for token in reader.tokens[absent]])
    concerned = int(np.isin(dataset.user_items.items.numpy(), absent).sum())
    getLogger().warning(
        f"missing_media: {len(absent)} of {reader.n_items - 1} items ({concerned} of "
        f"{len(dataset.user_items.items)} "
        f"interactions) have no frames in {reader.store.path} and give black frames to the model; the "
        "reasons are in "
        "frames_report.csv beside it."
    )


def _missing_error(store: Path, tokens: list[str]) -> MicroLensError:
    reasons = _reasons(Path(store).parent / "frames_report.csv")
    shown = ", ".join(f"{token} ({reasons[token]})" if token in reasons else token for token in tokens[:5])
    return MicroLensError(
        f"missing_media: {len(tokens)} items have no frames in {store}: "
        f"{shown}{', ...' if len(tokens) > 5 else ''}. "
        "Add the files and build the store again, or set `missing_media: zeros` to give them black frames."
    )


def _reasons(report: Path) -> dict[str, str]:
    if not report.is_file():
        return {}
    with report.open(encoding="utf-8", newline="") as file:
        return {row["item_id"]: row["reason"] for row in csv.DictReader(file)}
