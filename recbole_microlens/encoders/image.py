"""The image encoders of torchvision, with weights of the first ImageNet-1k recipe; and EfficientNet-Lite0."""

from functools import partial

from torch import nn

from recbole_microlens.encoders.efficientnet_lite import EFFICIENTNET_LITE0
from recbole_microlens.encoders.pooling import mean_of_channels_last
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.weights import torchvision_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_SWIN_STAGES = (
    ("features.0",),
    ("features.1",),
    ("features.2", "features.3"),
    ("features.4", "features.5"),
    ("features.6", "features.7", "norm"),
)


def build_from_torchvision(name: str, frames: int, size: int) -> nn.Module:
    """A network of ``torchvision.models`` with random weights; all of these take any clip or image."""
    from torchvision.models import get_model

    return get_model(name)


def _image(name: str, paper_name: str, file: str, feature_dim: int, **other) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        paper_name=paper_name,
        modality="image",
        build=partial(build_from_torchvision, name),
        feature_dim=feature_dim,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        published=torchvision_weights(file, "ImageNet-1k"),
        **other,
    )


_resnet = partial(
    _image,
    stages=(("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
    head=("fc",),
)
_swin = partial(_image, stages=_SWIN_STAGES, head=("head",), pools={"mean": mean_of_channels_last})

IMAGE_ENCODERS = (
    _resnet("resnet18", "ResNet18", "resnet18-f37072fd.pth", 512),
    _resnet("resnet34", "", "resnet34-b627a593.pth", 512),
    _resnet("resnet50", "ResNet50", "resnet50-0676ba61.pth", 2048),
    _resnet("resnet101", "", "resnet101-63fe2227.pth", 2048),
    _resnet("resnet152", "", "resnet152-394f9c45.pth", 2048),
    _swin("swin_t", "Swin-T", "swin_t-704ceda3.pth", 768),
    _swin("swin_s", "", "swin_s-5e29d889.pth", 768),
    _swin("swin_b", "", "swin_b-68c6b09e.pth", 1024),
    EFFICIENTNET_LITE0,
)
