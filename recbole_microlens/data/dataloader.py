"""The training loader of content models: batches that carry the media of their distinct items."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from zlib import crc32

import numpy as np
import torch
from recbole.data.dataloader import TrainDataLoader
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_microlens import distributed
from recbole_microlens.compat.loader_workers import EndWithParent, hand_over
from recbole_microlens.data.media import ItemReader
from recbole_microlens.items.media_batch import ItemMedia


class ContentBatch(Interaction):
    """A batch of sequences and the media of its distinct items; moves to a device as one.

    Attributes
    ----------
    media : ItemMedia
        :class:`ItemMedia` of every item in the batch's sequences, targets and negatives, in ascending order,
        padding left out.
    item_fields : tuple[str, ...]
        Names of the fields that hold item ids.
    n_samples : int
        Samples in the batch of all processes together.
    is_idle : bool
        There was nothing left for this process in a batch shared by several; the sample is another's and must
        not count.
    """

    def __init__(
        self,
        interaction: dict,
        media: ItemMedia,
        item_fields: tuple[str, ...],
        n_samples: int,
        is_idle: bool = False,
    ):
        super().__init__(interaction)
        self.media = media
        self.item_fields = item_fields
        self.n_samples = n_samples
        self.is_idle = is_idle

    def to(self, device, selected_field=None) -> ContentBatch:
        fields = {name: value.to(device, non_blocking=True) for name, value in self.interaction.items()}
        return self._like(fields, self.media.to(device))

    def pin_memory(self) -> ContentBatch:
        fields = {name: value.pin_memory() for name, value in self.interaction.items()}
        return self._like(fields, self.media.pin_memory())

    def _like(self, fields: dict, media: ItemMedia) -> ContentBatch:
        return ContentBatch(fields, media, self.item_fields, self.n_samples, self.is_idle)

    def renumbered(self, item_ids: Tensor) -> Interaction:
        """The batch with U items, its own among them, numbered 1 to U.

        Padding stays 0; an id above all items, BERT4Rec's mask token, becomes U + 1.
        """
        fields = dict(self.interaction)
        for name in self.item_fields:
            number = torch.searchsorted(item_ids, fields[name].contiguous()) + 1
            fields[name] = torch.where(fields[name] == 0, 0, number)
        return Interaction(fields)


class ContentTrainDataLoader(TrainDataLoader):
    """RecBole's training loader whose workers also read and decode the media of each batch.

    With several processes each gets its share of every batch: all shuffle in the same way. What is drawn for
    a batch, negatives and masks, does not depend on the number of workers.

    Attributes
    ----------
    skipped : int
        Batches to leave out, unread, at the start of an epoch that was interrupted in its middle.
    """

    def __init__(self, config, dataset, sampler, reader: ItemReader, shuffle=False):
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        self.reader = reader
        self.pin_memory = torch.cuda.is_available()
        # Read here: worker processes do not belong to the group.
        self._rank, self._world_size = distributed.rank(), distributed.world_size()
        self._possible_item_fields = _item_fields(config, dataset.iid_field)
        self._workers = self.num_workers
        self._epoch_seed = 0
        self.skipped = 0

    def __iter__(self):
        # Without media there is nothing to read ahead.
        self.num_workers = self._workers if self.reader.readers else 0
        self.worker_init_fn = EndWithParent()
        # Without drawing from the generator, so that shuffling is not affected.
        self._epoch_seed = crc32(self.generator.get_state().numpy().tobytes())
        return super().__iter__()

    @property
    def _index_sampler(self):  # DataLoader's own name for what gives the indices of each batch
        batches = super()._index_sampler
        return _Rest(batches, self.skipped) if self.skipped else batches

    def collate_fn(self, index) -> ContentBatch:
        share = distributed.share_of(index, self._rank, self._world_size)
        with _rng_seeded(self._epoch_seed, int(index[0]), self._rank):
            batch = super().collate_fn(share or index[:1])
        fields = tuple(field for field in self._possible_item_fields if field in batch)
        items = torch.cat([batch[field].flatten() for field in fields]).unique()
        is_item = (items != 0) & (items < self._dataset.item_num)  # A mask token is no item.
        media = self.reader.read(items[is_item])
        hand_over(batch.interaction.values())
        return ContentBatch(batch.interaction, media, fields, len(index), not share)


class _Rest:
    """Batches without the first few; as long as before, so that a bar counts them."""

    def __init__(self, batches, skipped: int):
        self._batches = batches
        self._skipped = skipped

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self):
        return islice(self._batches, self._skipped, None)


@contextmanager
def _rng_seeded(*numbers: int) -> Iterator[None]:
    """Draw, within, what depends on these numbers alone; draws after the block are not affected."""
    seed = crc32(repr(numbers).encode())
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def _item_fields(config, item_field: str) -> list[str]:
    """Every name under which RecBole's datasets, transforms and negative sampling put item ids to train on.

    With a cross-entropy the negatives that masking draws are not looked at: their content need not be read.
    """
    prefixes: tuple[str, ...] = ("", "Mask_", "Pos_", "Inverse_", "Crop_", "Reorder_")
    if config["loss_type"] != "CE":
        prefixes += (config["NEG_PREFIX"], "Neg_")
    suffixes = ("", config["LIST_SUFFIX"])
    return [prefix + item_field + suffix for prefix in prefixes for suffix in suffixes]
