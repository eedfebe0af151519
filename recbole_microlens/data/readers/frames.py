"""Readers of the media stores: the clip of an item, and its cover or a frame of its clip."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.data.readers.media_store import StoreReader
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import store_path
from recbole_microlens.media.shards import is_there
from recbole_microlens.media.spread import frames_of_clip
from recbole_microlens.media.store import MediaStore


class VideoReader(StoreReader):
    """Reads the frames of items by their internal ids; may be sent to worker processes.

    Parameters
    ----------
    store : MediaStore
        An open store.
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    num_frames, size : int
        Frames of a clip and their height and width; the store must hold at least ``num_frames``. Of more the
        middle ones are read; of a store of evenly spread frames such as are evenly spread among them.
    missing : str
        What an item without media gives: ``zeros`` (black frames) or ``error``.
    """

    def __init__(self, store: MediaStore, tokens: np.ndarray, num_frames: int, size: int, missing: str):
        stored = store.meta.num_frames
        if num_frames > stored:
            raise MicroLensError(
                f"num_frames: {num_frames} are asked for, {store.path} holds {stored} for each item. Set "
                f"`num_frames` to at most {stored}, or build the store again with --num-frames {num_frames}."
            )
        super().__init__(store, tokens, missing)
        self.num_frames = num_frames
        self.size = size
        self._frames = frames_of_clip(store.meta, num_frames)

    def read(self, item_ids: Tensor) -> Tensor:
        """Frames of distinct items.

        Parameters
        ----------
        item_ids : Tensor
            [U] int64 internal ids, without padding.

        Returns
        -------
        Tensor [U, num_frames, size, size, 3], uint8
            Those of :func:`~recbole_microlens.media.spread.frames_of_clip`.
        """
        shape = (len(item_ids), self.num_frames, self.size, self.size, 3)
        pixels = np.zeros(shape, dtype=np.uint8)
        self.fill(pixels, item_ids, lambda item_id: self.store.read(item_id, self.size, self._frames))
        return torch.from_numpy(pixels)


class ImageReader(VideoReader):
    """A cover, or the middle frame of a clip: what :class:`VideoReader` reads, without the time.

    ``read`` gives uint8 [U, size, size, 3].
    """

    def __init__(self, store: MediaStore, tokens: np.ndarray, size: int, missing: str):
        super().__init__(store, tokens, num_frames=1, size=size, missing=missing)

    def read(self, item_ids: Tensor) -> Tensor:
        return super().read(item_ids)[:, 0]


def video_reader(config, tokens: np.ndarray) -> VideoReader:
    """The reader of ``video.lmdb`` under the settings of a run.

    Raises
    ------
    MicroLensError
        There is no such store, or it holds too few frames for each item.
    """
    store = MediaStore(store_path(config, "video"))
    return VideoReader(store, tokens, config["num_frames"], config["frame_size"], config["missing_media"])


def image_reader(config, tokens: np.ndarray) -> ImageReader:
    """The reader of the images that ``image_source`` names.

    Raises
    ------
    MicroLensError
        There is no such store.
    """
    path = store_path(config, "image")
    if config["image_source"] == "cover" and not is_there(path) and is_there(path.with_name("video.lmdb")):
        raise MicroLensError(
            f"{path} is not there. Build it with: recbole-microlens covers RELEASE_FOLDER --dataset "
            f"{config['dataset']}; or set `image_source: video` to look at the middle frame of each video."
        )
    return ImageReader(MediaStore(path), tokens, config["frame_size"], config["missing_media"])
