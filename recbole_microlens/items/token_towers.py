"""Towers of ODMT: an item's frozen tokens, or its id, mapped to the model's width."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.towers import IdTower


class TokenTower(nn.Module):
    """Frozen token features from a file, and a linear map of each token.

    Parameters
    ----------
    modality : str
        Which part of the items' content they are.
    feature_dim, dim : int
        Length of a token's features, and d.
    """

    def __init__(self, modality: str, feature_dim: int, dim: int):
        super().__init__()
        self.modality = modality
        self.projection = nn.Linear(feature_dim, dim)

    def forward(self, media: ItemMedia) -> tuple[Tensor, Tensor]:
        """The tokens of U items [U, T, d], and which of them are real [U, T]."""
        tokens, real = media.content[self.modality].tensors
        return self.projection(tokens.float()), real


class ProjectedIdTower(IdTower):
    """An id table as wide as the features, and a linear map.

    Parameters
    ----------
    table : nn.Embedding
        [n_items, feature_dim].
    dim : int
        d.
    """

    def __init__(self, table: nn.Embedding, dim: int):
        super().__init__(table)
        self.projection = nn.Linear(table.embedding_dim, dim)

    def forward(self, media: ItemMedia) -> Tensor:
        """[U, d]."""
        return self.projection(super().forward(media))
