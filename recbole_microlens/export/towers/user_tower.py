"""The user model of a run on vectors alone: embeddings of a history -> what scores items by a product."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.export.asked import Asked
from recbole_microlens.export.contract import some_asked
from recbole_microlens.export.network import against_identity
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.scoring import ScoreKind
from recbole_microlens.export.towers.onnx_export import BATCHES, Case, Tower
from recbole_microlens.items.table import ItemTable

INPUTS, OUTPUTS = ("item_vectors", "lengths"), ("user_vector",)
# Their `forward` puts the history into NumPy, item id by item id.
_BUILD_GRAPHS = ("GCSAN", "SRGNN")
_PADDING = 0


def reason_against_user_tower(model: Recommender) -> str | None:
    """Why there is no user vector to compute from a history alone; ``None`` if there is."""
    name = model.config["model"]
    if model.kind.vectors is None:
        return f"{name} scores by {model.kind.formula}, not by a product with a vector of the user"
    if not model.reads_history:
        return f"{name} looks up the vector of a user in a table, and computes none from a history"
    if model.knows_users:
        return f"{name} knows users by id: a history alone is not enough"
    if model.backbone in _BUILD_GRAPHS:
        return f"{name} builds a graph of the history by item id, in NumPy, and vectors have no ids"
    return None


def user_tower(model: Recommender) -> Tower:
    """The user model of a run that :func:`reason_against_user_tower` has nothing against, on the CPU.

    It is compared with what the run itself computes for users and made-up histories, and with the module on
    vectors of no item.
    """
    module = UserTower(model.network, model.kind).eval()
    real = [case for asked in some_asked(model) for case in _of_histories(model, asked)]
    return Tower(
        module=module,
        inputs=INPUTS,
        outputs=OUTPUTS,
        cases=(*real, *_random(module, model)),
        tried_on=(
            *(["histories of users"] if model.users is not None else []),
            "made-up histories",
            "random vectors",
        ),
        sequences=INPUTS[:1],
    )


class UserTower(nn.Module):
    """RecBole's user model whose items are given as vectors.

    Parameters
    ----------
    network : nn.Module
        That of a finished run; it is left as it is.
    kind : ScoreKind
    """

    def __init__(self, network: nn.Module, kind: ScoreKind):
        super().__init__()
        table = network.item_embedding
        assert isinstance(table, ItemTable)
        self.given = _GivenItems(table)
        # Wherever the network has its table, the copy has what stands for it.
        copied: Any = copy.deepcopy(network, {id(table): self.given}).requires_grad_(False)
        if hasattr(copied, "mask_token"):
            copied.mask_token = _GivenItems.FIRST_EXTRA
            copied.reconstruct_test_data = self._with_mask_token
        self.network: Any = copied
        self.has_bias = kind.has_bias
        self._changed = ExitStack()
        self._changed.enter_context(against_identity(self.network, kind.by_item))

    def forward(self, item_vectors: Tensor, lengths: Tensor) -> Tensor:
        """The vectors of users.

        Parameters
        ----------
        item_vectors : Tensor [B, L, d]
            The embeddings of a history, oldest first, then padding, whatever it is.
        lengths : Tensor [B], int64
            How many are no padding, from 1 on.

        Returns
        -------
        Tensor [B, d']
        """
        with self.given.of(item_vectors):
            fields = {
                self.network.ITEM_SEQ: self.given.ids(item_vectors, lengths),
                self.network.ITEM_SEQ_LEN: lengths,
            }
            found = self.network.full_sort_predict(fields).view(item_vectors.size(0), -1)
        return F.pad(found, (0, 1), value=1.0) if self.has_bias else found

    def _with_mask_token(self, item_seq: Tensor, lengths: Tensor) -> Tensor:
        """BERT4Rec's ``reconstruct_test_data``, without its loop over the batch."""
        longer = F.pad(item_seq, (0, 1))
        return longer.scatter(1, lengths.unsqueeze(1), _GivenItems.FIRST_EXTRA)[:, 1:]


class _GivenItems(nn.Module):
    """Stands for a table of items: each place of a batch is an item of its own, with an id of its own.

    Id 0 is padding, then come the extra rows of the table (a mask token), then the places.
    """

    FIRST_EXTRA = 1
    first_rows: Tensor

    def __init__(self, table: ItemTable):
        super().__init__()
        self.embedding_dim = table.embedding_dim
        padding = torch.zeros(1, table.embedding_dim)
        self.register_buffer("first_rows", torch.cat([padding, table.weight[table.n_items :].cpu()]))
        self._rows: Tensor | None = None
        self.weight: Tensor | None = None

    def ids(self, item_vectors: Tensor, lengths: Tensor) -> Tensor:
        """The ids of the places of [B, L, d], [B, L] int64; 0 from each row's length on."""
        n_users, length = item_vectors.shape[:2]
        places = torch.arange(n_users * length).view(n_users, length) + len(self.first_rows)
        return torch.where(torch.arange(length) < lengths.unsqueeze(1), places, _PADDING)

    def forward(self, item_ids: Tensor) -> Tensor:
        """Ids of any shape [...] -> [..., d]."""
        assert self._rows is not None
        return F.embedding(item_ids, self._rows)

    @contextmanager
    def of(self, item_vectors: Tensor) -> Iterator[None]:
        """Inside the block these are the items of a batch, [B, L, d]."""
        self._rows = torch.cat([self.first_rows, item_vectors.flatten(0, 1)])
        try:
            yield
        finally:
            self._rows = None

    @contextmanager
    def weight_is(self, stand_in: Tensor) -> Iterator[None]:
        """As that of :class:`~recbole_microlens.items.table.ItemTable`."""
        self.weight = stand_in
        try:
            yield
        finally:
            self.weight = None


def _of_histories(model: Recommender, asked: Asked) -> Iterator[Case]:
    """What a run computes for users, in batches of each size."""
    asked = asked.without_times()  # vectors alone are given
    interaction = asked.interaction(model.config)
    sequences = interaction[model.network.ITEM_SEQ]  # [B, L]
    lengths = interaction[model.network.ITEM_SEQ_LEN]
    vectors = model.item_vectors()[sequences] * (sequences > _PADDING).unsqueeze(2)  # [B, L, d]
    queries = model.queries(asked)
    start = 0
    for size in BATCHES:
        rows = slice(start, start + size)
        if len(lengths[rows]) < size:
            return
        yield Case((vectors[rows], lengths[rows]), (queries[rows],), lengths[rows])
        start += size


def _random(module: UserTower, model: Recommender) -> Iterator[Case]:
    """Vectors as large as those of items, and lengths from 1 to the longest; padding of any numbers."""
    drawn = torch.Generator().manual_seed(0)
    longest, table = model.config["MAX_ITEM_LIST_LENGTH"], model.item_vectors()
    for size in BATCHES:
        vectors = torch.randn(size, longest, table.size(1), generator=drawn) * table[1:].std()
        known = torch.tensor([max(1, longest // 2), longest, 1])
        lengths = torch.cat([known, torch.randint(1, longest + 1, (size,), generator=drawn)])[:size]
        with torch.no_grad():
            yield Case((vectors, lengths), (module(vectors, lengths),), lengths)
