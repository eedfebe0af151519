"""A trained network and its scores: of all items for some users, or as the product of two vectors."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_microlens.config.model_class import recbole_name
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.loaders import SCORE_BYTES, users_within
from recbole_microlens.export.asked import Asked
from recbole_microlens.export.known import one_of
from recbole_microlens.export.network import ProductOfTables, against_identity
from recbole_microlens.export.scoring import ScoreKind, score_kind
from recbole_microlens.items.table import ItemTable
from recbole_microlens.models.backbones import KNOW_USERS

_MOST_USERS = 1024  # at once: what a network holds of each is no less where there are few items
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Scorer:
    """What of a finished run scores items; it knows users and items by internal id.

    Parameters
    ----------
    folder : Path
        The run's folder.
    config : Config
    network : nn.Module
        In eval mode; its ``full_sort_predict`` scores all items.
    precision : {'fp32', 'bf16', 'fp16'}
        Of the user model and the scores.

    Attributes
    ----------
    kind : ScoreKind
        How it scores.
    """

    def __init__(self, folder: Path, config, network: nn.Module, precision: str = "fp32"):
        self.folder = folder
        self.config = config
        self.network = network
        self.kind: ScoreKind = score_kind(config.model_class)
        self._autocast = PRECISIONS[one_of(precision, PRECISIONS, "precision")]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.config["device"]

    @property
    def backbone(self) -> str:
        """The name of the model, or of the backbone that it is built on."""
        return recbole_name(self.config.model_class)

    @property
    def reads_history(self) -> bool:
        """Whether the score depends on what the user has seen."""
        return hasattr(self.network, "ITEM_SEQ")

    @property
    def knows_users(self) -> bool:
        """Whether the score depends on who the user is, so that a history alone is not enough."""
        return not self.reads_history or self.backbone in KNOW_USERS

    def users_at_once(self, n_items: int) -> int:
        """Users whose scores of all items are computed together."""
        at_once = min(users_within(SCORE_BYTES, self.device, n_items), _MOST_USERS)
        return min(at_once, getattr(self.config.model_class, "users_ranked_at_once", at_once))

    @torch.no_grad()
    def scores(self, asked: Asked) -> Tensor:
        """The scores of all items for some users, [B, n_items], as the model gives them.

        Raises
        ------
        MicroLensError
            The model scores single pairs only.
        """
        interaction = asked.interaction(self.config).to(self.device)
        with self._precision():
            try:
                found = self.network.full_sort_predict(interaction)
            except NotImplementedError:
                raise MicroLensError(
                    f"{self.config['model']} scores one pair of user and item at a time, not all items of a "
                    "user: it cannot be asked for recommendations. Ask another model."
                ) from None
        return found.view(len(asked), -1).float()

    @torch.no_grad()
    def queries(self, asked: Asked) -> Tensor:
        """The vectors [B, d'] of some users, whose product with :meth:`index_vectors` is the score."""
        self.require_index()
        if isinstance(self.network, ProductOfTables):
            return self.network.users[asked.users.to(self.device)]
        with against_identity(self.network, self.kind.by_item), self._precision():
            found = self.network.full_sort_predict(asked.interaction(self.config).to(self.device)).float()
        return F.pad(found, (0, 1), value=1.0) if self.kind.has_bias else found

    def item_vectors(self) -> Tensor:
        """The embeddings of all items, [n_items, d], row 0 padding.

        Raises
        ------
        MicroLensError
            The model has none.
        """
        table = getattr(self.network, "item_embedding", None)
        if isinstance(table, ItemTable):
            return table.table
        if isinstance(table, nn.Embedding):
            return table.weight.detach()[: int(self.network.n_items)]
        raise MicroLensError(
            f"{self.config['model']} keeps no embedding of an item: none are alike. Ask another model."
        )

    @torch.no_grad()
    def index_vectors(self) -> Tensor:
        """The vectors of all items [n_items, d'] whose product with :meth:`queries` is the score.

        Raises
        ------
        MicroLensError
            There are none: an inner product would rank the items of this model wrongly.
        """
        self.require_index()
        assert self.kind.vectors is not None
        return self.kind.vectors(self.network, self.item_vectors())

    def require_index(self) -> None:
        """Raise a :class:`MicroLensError` if an inner product would rank this model's items wrongly."""
        if self.kind.vectors is None:
            raise MicroLensError(
                f"{self.config['model']} scores by {self.kind.formula}: an index, which searches by inner "
                "product, would rank its items wrongly. Leave --index out: all items are then ranked exactly."
            )

    def _precision(self):
        return torch.autocast(self.device.type, self._autocast, enabled=self._autocast is not None)
