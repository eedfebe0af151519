"""All that a batch brings of its items, read in the processes that load batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from recbole_microlens import distributed
from recbole_microlens.compat.loader_workers import EndWithParent, hand_over
from recbole_microlens.data.missing import MissingContent, report_missing
from recbole_microlens.data.readers.audio import sound_reader
from recbole_microlens.data.readers.features import feature_reader
from recbole_microlens.data.readers.frames import image_reader, video_reader
from recbole_microlens.data.readers.titles import title_reader
from recbole_microlens.data.readers.tokens import token_reader
from recbole_microlens.items.media_batch import Content, ItemMedia
from recbole_microlens.items.modality import features_path, modalities


class Reader(Protocol):
    """Reads one modality; may be sent to worker processes.

    Attributes
    ----------
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    missing : str
        ``zeros`` or ``error``, for an item that it has no content for.
    missing_content : MissingContent
        How it describes such items.
    """

    tokens: np.ndarray
    missing: str

    @property
    def missing_content(self) -> MissingContent: ...

    def absent(self) -> np.ndarray:
        """Internal ids of the items that it has no content for."""

    def read(self, item_ids: Tensor) -> Content:
        """The content of distinct items, [U] int64 without padding -> [U, ...]."""


class ItemReader:
    """Reads all that a model looks at; may be sent to worker processes.

    Parameters
    ----------
    n_items : int
        Number of items, padding (id 0) included.
    readers : dict[str, Reader]
        By modality. Empty for a model that looks at ids alone.
    """

    def __init__(self, n_items: int, readers: dict[str, Reader]):
        self.n_items = n_items
        self.readers = readers

    def read_with(self, modality: str, reader: Reader | None) -> None:
        """Read a modality with another reader from now on; ``None``: leave it out of what a batch brings."""
        if reader is None:
            self.readers.pop(modality, None)
        else:
            self.readers[modality] = reader

    def read(self, item_ids: Tensor) -> ItemMedia:
        """The content of distinct items, [U] int64 without padding."""
        media = ItemMedia(item_ids, {name: reader.read(item_ids) for name, reader in self.readers.items()})
        hand_over(media.tensors())
        return media

    def all_items(self, batch_size: int, workers: int) -> DataLoader:
        """A loader of every item once, in batches of :class:`ItemMedia`; of several processes, of its
        share.
        """
        return DataLoader(
            distributed.my_share(range(1, self.n_items)),  # type: ignore[arg-type]  # a sequence is a dataset
            batch_size=batch_size,
            num_workers=workers,
            worker_init_fn=EndWithParent(),
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
        A store, the titles or the features are not there or do not fit; or items lack content and
        ``missing_media`` is ``error``.
    """
    tokens = np.asarray(dataset.field2id_token[dataset.iid_field])
    readers = {name: create_reader(config, name, tokens) for name in modalities(config) if name != "id"}
    counts = dataset.user_items.count_items(dataset.item_num).numpy()
    for reader in readers.values():
        report_missing(reader, counts)
    return ItemReader(dataset.item_num, readers)


_READERS: dict[str, Callable[..., Reader]] = {
    "text": title_reader,
    "image": image_reader,
    "video": video_reader,
    "audio": sound_reader,
}


def create_reader(config, modality: str, tokens: np.ndarray) -> Reader:
    """The reader of one modality: of its features where ``features`` has them, else of what its encoder sees.

    Parameters
    ----------
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    """
    path = features_path(config, modality)
    if path is not None:
        read = token_reader if getattr(config.model_class, "reads_tokens", False) else feature_reader
        return read(config, path, tokens)
    return _READERS[modality](config, tokens)
