"""A batch of users like those of MicroLens-100K, and random frames of their items, in memory."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor

from recbole_microlens.data.dataloader import ContentBatch
from recbole_microlens.items.media_batch import ItemMedia

SLOTS, FILLED, REPEATED = 11, 0.47, 0.05  # as in batches of MicroLens-100K


class ItemsInMemory:
    """Random frames of items; row r is item r, row 0 is black."""

    def __init__(self, items: int, frames: int, size: int):
        generator = torch.Generator().manual_seed(1)
        shape = (items + 1, frames, size, size, 3)
        self.clips = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self.clips[0] = 0

    def read(self, item_ids: Tensor) -> Tensor:
        return self.clips[item_ids]


@dataclass
class Problem:
    """A batch of users and the items that they saw.

    Attributes
    ----------
    sequences : [B, SLOTS] item ids, 0 is padding on the right.
    """

    sequences: Tensor
    items: ItemsInMemory

    @classmethod
    def of(cls, users: int, frames: int, size: int) -> "Problem":
        generator = torch.Generator().manual_seed(0)
        real = round(FILLED * SLOTS * users)
        lengths = torch.full((users,), 2)
        while lengths.sum() < real:
            user = torch.randint(0, users, (), generator=generator)
            lengths[user] += int(lengths[user] < SLOTS)
        distinct = real - round(REPEATED * real)
        ids = torch.cat([torch.arange(1, distinct + 1), torch.arange(1, real - distinct + 1)])
        sequences = torch.zeros(users, SLOTS, dtype=torch.int64)
        sequences[torch.arange(SLOTS) < lengths.unsqueeze(1)] = ids
        return cls(sequences, ItemsInMemory(distinct, frames, size))

    @property
    def distinct(self) -> int:
        return len(self.items.clips) - 1

    def dataset(self):
        """What a model and a trainer ask of a dataset."""
        counts = torch.bincount(self.sequences.flatten(), minlength=self.distinct + 1)
        return SimpleNamespace(
            num=lambda field: self.distinct + 1,
            popularity=counts.index_fill(0, torch.tensor(0), 0),
            item_slots=lambda: int(counts[1:].sum()),
            iid_field="item_id",
            field2id_token={"item_id": [str(item) for item in range(self.distinct + 1)]},
        )

    def batch(self, with_media: bool) -> ContentBatch:
        length = (self.sequences != 0).sum(1) - 1
        target = self.sequences.gather(1, length.unsqueeze(1))[:, 0]
        inputs = self.sequences.scatter(1, length.unsqueeze(1), 0)[:, :-1]
        ids = torch.arange(1, self.distinct + 1)
        media = ItemMedia(ids, {"video": self.items.read(ids)} if with_media else {})
        fields = {"item_id_list": inputs, "item_length": length, "item_id": target}
        return ContentBatch(fields, media, ("item_id_list", "item_id"), len(length))
