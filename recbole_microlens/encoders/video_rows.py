"""The video encoders of pytorchvideo and torchvision, a row each."""

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.video import (
    build_r3d_18,
    build_slowfast_r50,
    build_x3d_xs,
    slow_and_fast,
)
from recbole_microlens.encoders.weights import PublishedWeights

_PYTORCHVIDEO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
_PYTORCHVIDEO_MEAN, _PYTORCHVIDEO_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)

VIDEO_ROWS = (
    EncoderSpec(
        name="slowfast_r50",
        paper_name="SlowFast-r50",
        modality="video",
        build=build_slowfast_r50,
        stages=(("blocks.0",), ("blocks.1",), ("blocks.2",), ("blocks.3",), ("blocks.4",)),
        head=("blocks.6.",),
        feature_dim=2304,
        mean=_PYTORCHVIDEO_MEAN,
        std=_PYTORCHVIDEO_STD,
        published=PublishedWeights(
            f"{_PYTORCHVIDEO}/SLOWFAST_8x8_R50.pyth", "Apache-2.0 code, CC BY-NC weights", "Kinetics-400"
        ),
        pathways=slow_and_fast,
    ),
    EncoderSpec(
        name="x3d_xs",
        paper_name="X3D-xs",
        modality="video",
        build=build_x3d_xs,
        stages=(("blocks.0",), ("blocks.1",), ("blocks.2",), ("blocks.3",), ("blocks.4", "blocks.5")),
        head=("blocks.5.proj.",),
        feature_dim=2048,
        mean=_PYTORCHVIDEO_MEAN,
        std=_PYTORCHVIDEO_STD,
        published=PublishedWeights(
            f"{_PYTORCHVIDEO}/X3D_XS.pyth", "Apache-2.0 code, CC BY-NC weights", "Kinetics-400"
        ),
    ),
    EncoderSpec(
        name="r3d_18",
        paper_name="R3D-r18",
        modality="video",
        build=build_r3d_18,
        stages=(("stem",), ("layer1",), ("layer2",), ("layer3",), ("layer4",)),
        head=("fc.",),
        feature_dim=512,
        mean=(0.43216, 0.394666, 0.37645),
        std=(0.22803, 0.22145, 0.216989),
        published=PublishedWeights(
            "https://download.pytorch.org/models/r3d_18-b3b3357e.pth", "BSD-3-Clause", "Kinetics-400", True
        ),
        released_stages=2,
    ),
)
