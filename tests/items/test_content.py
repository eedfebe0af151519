"""The drop-in: gathers, pads, encodes each item once, and keeps its table for an evaluation only."""

import pytest
import torch
from torch import nn

from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.items.modality import ProjectionSettings
from recbole_microlens.items.towers import EncoderTower


class MeanColour(nn.Module):
    """An encoder in miniature: mean of each channel, times a weight; counts what it encodes."""

    feature_dim = 3

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.encoded = 0

    def forward(self, pixels):
        self.encoded += len(pixels)
        return pixels.float().mean(dim=(1, 2, 3)) * self.weight


def media_of(ids, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (9, 2, 4, 4, 3), dtype=torch.uint8, generator=generator)
    ids = torch.tensor(ids)
    return ItemMedia(ids, {"video": pixels[ids]})


@pytest.fixture
def layer():
    torch.manual_seed(0)
    towers = nn.ModuleDict(
        {"video": EncoderTower("video", MeanColour(), 5, ProjectionSettings(0, 0.0, "gelu", "others"))}
    )
    return ContentItemEmbedding(towers, n_items=9, embedding_dim=5)


def encoder_of(layer):
    return layer.towers["video"].encoder


def test_ids_of_any_shape_are_gathered_and_padding_is_zero(layer):
    media = media_of([2, 4, 7])
    with layer.encode_batch(media):
        embedded = layer(torch.tensor([[[4, 0], [7, 2]]]))
    expected = layer.encode(media)
    assert embedded.shape == (1, 2, 2, 5)
    torch.testing.assert_close(embedded[0, 0, 0], expected[1])
    torch.testing.assert_close(embedded[0, 1], expected[[2, 0]])
    assert (embedded[0, 0, 1] == 0).all()


def test_a_batch_encodes_each_item_once_and_no_padding(layer):
    with layer.encode_batch(media_of([2, 4, 7])):
        layer(torch.tensor([2, 2, 0, 4, 7, 7]))
        layer(torch.tensor([[7, 0]]))
    assert encoder_of(layer).encoded == 3


def test_an_item_without_media_is_not_silently_another(layer):
    with layer.encode_batch(media_of([2, 4])), pytest.raises(IndexError):
        layer(torch.tensor([3]))


def test_table_is_what_forward_gives_and_is_dropped_when_training_goes_on(layer):
    layer.eval()
    layer.get_all_embeddings([media_of([1, 2, 3, 4]), media_of([5, 6, 7, 8])])
    assert encoder_of(layer).encoded == 8
    assert layer.weight.shape == (9, 5)
    assert (layer.weight[0] == 0).all()
    torch.testing.assert_close(layer(torch.tensor([[3, 0]])), layer.weight[[3, 0]].unsqueeze(0))
    with layer.encode_batch(media_of([3])):
        torch.testing.assert_close(layer(torch.tensor([3])), layer.weight[[3]])
    layer.train()
    with pytest.raises(RuntimeError, match="get_all_embeddings"):
        _ = layer.weight


def test_gradients_of_repeats_add_up(layer):
    with layer.encode_batch(media_of([2, 4])):
        layer(torch.tensor([2, 2, 2])).sum().backward()
    thrice = encoder_of(layer).weight.grad.clone()
    layer.zero_grad()
    with layer.encode_batch(media_of([2, 4])):
        layer(torch.tensor([2])).sum().backward()
    torch.testing.assert_close(thrice, 3 * encoder_of(layer).weight.grad)


def test_projection_layers_add_hidden_layers_of_the_item_dimension():
    tower = EncoderTower("video", MeanColour(), 5, ProjectionSettings(2, 0.0, "gelu", "others"))
    shapes = [tuple(m.weight.shape) for m in tower.projection.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(5, 3), (5, 5), (5, 5)]
