"""Encoders in miniature and readers of random pixels, for tests of what is done with them."""

from types import SimpleNamespace

import torch
from torch import nn

from recbole_microlens.encoders.encoder import Encoder, EncoderOptions
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.weights import PublishedWeights

N_ITEMS = 12  # padding included


class Pixels:
    """A reader of random frames from something like a media store."""

    def __init__(self, num_frames=2, size=4, missing="zeros", identity="store-1"):
        shape = (N_ITEMS, num_frames, size, size, 3) if num_frames else (N_ITEMS, size, size, 3)
        generator = torch.Generator().manual_seed(len(shape))
        self.pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self.store = SimpleNamespace(meta=SimpleNamespace(identity=identity))
        self.num_frames, self.size, self.missing = num_frames, size, missing
        self.reads = []

    def read(self, item_ids):
        self.reads.append(item_ids.tolist())
        return self.pixels[item_ids]


def tiny_encoder(modality="video", trainable_stages=1, seed=0, scale=1.0):
    """Two convolutions, each with BatchNorm: the first is stage 0, the second stage 1."""
    conv, norm = (nn.Conv3d, nn.BatchNorm3d) if modality == "video" else (nn.Conv2d, nn.BatchNorm2d)
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Sequential(conv(3, 4, 3, padding=1), norm(4), nn.ReLU()), nn.Sequential(conv(4, 6, 1), norm(6))
    )
    with torch.no_grad():
        network[0][1].weight.mul_(scale)
    spec = EncoderSpec(
        name=f"tiny_{modality}",
        paper_name="",
        modality=modality,
        build=None,
        stages=(("0",), ("1",)),
        head=(),
        feature_dim=6,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        published=PublishedWeights("", "", ""),
    )
    return Encoder(spec, network, EncoderOptions(trainable_stages=trainable_stages))
