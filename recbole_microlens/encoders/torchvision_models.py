"""What torchvision's networks have in common: how they are built, and how their weights are published."""

from torch import nn

from recbole_microlens.encoders.weights import PublishedWeights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_from_torchvision(name: str, frames: int, size: int) -> nn.Module:
    """A network of ``torchvision.models`` with random weights; all of these take any clip or image."""
    from torchvision.models import get_model

    return get_model(name)


def torchvision_weights(file: str, trained_on: str) -> PublishedWeights:
    """A file of ``download.pytorch.org``, whose name ends in the start of its hash."""
    return PublishedWeights(f"https://download.pytorch.org/models/{file}", "BSD-3-Clause", trained_on, True)
