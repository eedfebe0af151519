"""Towers: from what one modality shows of an item to a vector of the item dimension."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.items.constant_part import features_of
from recbole_microlens.items.feature_file import open_features
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.modality import (
    ProjectionSettings,
    features_path,
    modalities,
    modality_settings,
    projection_settings,
)

_PLAIN = ProjectionSettings(layers=0, dropout=0.0, activation="linear", group="others")


class EncoderTower(nn.Module):
    """A content encoder and a projection.

    Parameters
    ----------
    modality : str
        Which part of the items' content it looks at.
    encoder : Encoder
        Content [U, ...] -> features [U, encoder.feature_dim].
    embedding_dim : int
        d.
    projection : ProjectionSettings, default _PLAIN
        Its settings; one linear layer by default.

    Attributes
    ----------
    trains_with_encoder : bool
        Whether the projection has the encoder's learning rate and weight decay.
    """

    def __init__(
        self, modality: str, encoder: Encoder, embedding_dim: int, projection: ProjectionSettings = _PLAIN
    ):
        super().__init__()
        self.modality = modality
        self.encoder = encoder
        self.trains_with_encoder = projection.group == "encoder"
        self.projection = _projection(encoder.feature_dim, embedding_dim, projection)

    def forward(self, media: ItemMedia) -> Tensor:
        """The content of U items -> [U, d]."""
        return self.projection(features_of(self.encoder, media.content[self.modality]))


class FeatureTower(nn.Module):
    """Frozen features from a file, and the projection that an encoder's features would have.

    Parameters
    ----------
    modality : str
        Which part of the items' content the features are.
    feature_dim : int
        Length of a feature vector.
    embedding_dim, projection : int, ProjectionSettings
        As those of :class:`EncoderTower`.
    """

    def __init__(
        self, modality: str, feature_dim: int, embedding_dim: int, projection: ProjectionSettings = _PLAIN
    ):
        super().__init__()
        self.modality = modality
        self.projection = _projection(feature_dim, embedding_dim, projection)

    def forward(self, media: ItemMedia) -> Tensor:
        """The features of U items, float32 [U, feature_dim] -> [U, d]."""
        return self.projection(media.content[self.modality])


class IdTower(nn.Module):
    """The item-id embedding of RecBole, by id.

    Parameters
    ----------
    table : nn.Embedding
        The embedding that the stock model built, [n_items, d].
    sides : nn.ModuleDict, optional
        By name, ids [U] -> [U, d], which are added; see
        :class:`~recbole_microlens.items.side_feature.SideFeature`.
    """

    def __init__(self, table: nn.Embedding, sides: nn.ModuleDict | None = None):
        super().__init__()
        self.table = table
        self.sides = sides or nn.ModuleDict()

    def forward(self, media: ItemMedia) -> Tensor:
        """[U, d]; nothing but the ids is looked at."""
        embeddings = self.table(media.item_ids)
        for side in self.sides.values():
            embeddings = embeddings + side(media.item_ids)
        return embeddings


def create_towers(
    config,
    id_embedding: nn.Embedding,
    sides: nn.ModuleDict | None = None,
    feature_dims: Mapping[str, int] | None = None,
) -> nn.ModuleDict:
    """The towers of a model by modality.

    Parameters
    ----------
    id_embedding : nn.Embedding
        The item embedding that the stock model built; kept if the model looks at ids.
    sides : nn.ModuleDict, optional
        What is added to it, as :class:`IdTower` takes it.
    feature_dims : Mapping[str, int], optional
        By modality, the length of its feature vectors, where the files of ``features`` need not be there.
    """
    dim = id_embedding.embedding_dim
    towers = {
        name: IdTower(id_embedding, sides) if name == "id" else _tower(config, name, dim, feature_dims or {})
        for name in modalities(config)
    }
    return nn.ModuleDict(towers)


def _tower(config, name: str, dim: int, feature_dims: Mapping[str, int]) -> nn.Module:
    path, projection = features_path(config, name), projection_settings(config, name)
    if path is not None:
        return FeatureTower(name, feature_dims.get(name) or open_features(path).dim, dim, projection)
    # The draws of an encoder's random weights change nothing that is built after it: the rest of the model
    # starts the same whatever encodes the items.
    with torch.random.fork_rng(devices=[]):
        settings = modality_settings(config, name)
        encoder = create_encoder(settings.encoder.name, settings.options, name)
    return EncoderTower(name, encoder, dim, projection)


def _projection(feature_dim: int, embedding_dim: int, settings: ProjectionSettings) -> nn.Sequential:
    """Hidden layers of linear, GELU and dropout, each as wide as the embedding, and a last linear layer."""
    widths = [feature_dim] + [embedding_dim] * settings.layers
    hidden = [_dense(*pair, nn.GELU(), nn.Dropout(settings.dropout)) for pair in pairwise(widths)]
    last = [nn.GELU()] if settings.activation == "gelu" else []
    return nn.Sequential(*hidden, _dense(widths[-1], embedding_dim, *last))


def _dense(width_in: int, width_out: int, *after: nn.Module) -> nn.Sequential:
    linear = nn.Linear(width_in, width_out)
    nn.init.xavier_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, *after)
