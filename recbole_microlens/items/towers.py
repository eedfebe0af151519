"""Towers: from what one modality shows of an item to a vector of the item dimension."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.finetune import trainable_stages
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.items.constant_part import features_of
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.modality import ModalitySettings, modalities, modality_settings


class EncoderTower(nn.Module):
    """A content encoder and a projection (linear and GELU, as in the published code).

    Parameters
    ----------
    modality : which part of the items' content it looks at.
    encoder : content [U, ...] -> features [U, encoder.feature_dim].
    embedding_dim : d.
    projection_layers : hidden layers of size d between the features and the embedding.
    """

    def __init__(self, modality: str, encoder: Encoder, embedding_dim: int, projection_layers: int = 0):
        super().__init__()
        self.modality = modality
        self.encoder = encoder
        widths = [encoder.feature_dim] + [embedding_dim] * (projection_layers + 1)
        self.projection = nn.Sequential(*(_dense(*pair) for pair in zip(widths, widths[1:], strict=False)))

    def forward(self, media: ItemMedia) -> Tensor:
        """The content of U items -> [U, d]."""
        return self.projection(features_of(self.encoder, media.content[self.modality]))


class IdTower(nn.Module):
    """The item-id embedding of RecBole, by id.

    Parameters
    ----------
    table : the embedding that the stock model built, [n_items, d].
    """

    def __init__(self, table: nn.Embedding):
        super().__init__()
        self.table = table

    def forward(self, media: ItemMedia) -> Tensor:
        """[U, d]; nothing but the ids is looked at."""
        return self.table(media.item_ids)


def create_towers(config, id_embedding: nn.Embedding) -> nn.ModuleDict:
    """The towers of a model by modality.

    Parameters
    ----------
    id_embedding : the item embedding that the stock model built; kept if the model looks at ids.
    """
    dim = id_embedding.embedding_dim
    towers = {
        name: IdTower(id_embedding)
        if name == "id"
        else EncoderTower(
            name, _encoder(config, modality_settings(config, name)), dim, config["projection_layers"]
        )
        for name in modalities(config)
    }
    return nn.ModuleDict(towers)


def _encoder(config, settings: ModalitySettings) -> Encoder:
    spec = settings.encoder
    stages = trainable_stages(settings.finetune, settings.finetune_stages, len(spec.stages))
    return create_encoder(spec.name, config["num_frames"], config["frame_size"], settings.weights, stages)


def _dense(width_in: int, width_out: int) -> nn.Sequential:
    linear = nn.Linear(width_in, width_out)
    nn.init.xavier_normal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, nn.GELU())
