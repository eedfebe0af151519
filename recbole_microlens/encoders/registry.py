"""The table of encoders, a row each, and how a row becomes a network with its weights."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.video import (
    build_r3d_18,
    build_slowfast_r50,
    build_x3d_xs,
    slow_and_fast,
)
from recbole_microlens.encoders.weights import PublishedWeights, load_weights
from recbole_microlens.errors import MicroLensError, did_you_mean

_PYTORCHVIDEO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
_PYTORCHVIDEO_MEAN, _PYTORCHVIDEO_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the table: everything the package knows about an encoder.

    Attributes
    ----------
    name : what ``--encoder`` takes.
    paper_name : the encoder's name in Table 6 of the paper.
    modality : ``video``.
    build : ``(frames, size) -> network``, the library's own network without its classification layer.
    stages : names of the network's modules in the order of the forward pass, grouped into the stages that are
        frozen or trained as one. The last stage is the top-most.
    head : prefixes of checkpoint keys that belong to the classification layer; they are not loaded.
    feature_dim : length of the pooled feature vector.
    mean, std : per RGB channel, on pixels in [0, 1].
    published : the weights that ``encoder_weights: kinetics`` loads.
    released_stages : how many top stages the released runs of the paper left trainable.
    pathways : turns clips [N, 3, T, S, S] into the network's input where it is not the clip itself.
    """

    name: str
    paper_name: str
    modality: str
    build: Callable[[int, int], nn.Module]
    stages: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    feature_dim: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    published: PublishedWeights
    released_stages: int = 1
    pathways: Callable | None = None


_ROWS = (
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

ENCODERS: dict[str, EncoderSpec] = {row.name: row for row in _ROWS}


def encoder_spec(name: str) -> EncoderSpec:
    """Return the row of an encoder.

    Raises
    ------
    MicroLensError
        If no encoder has this name; the message names the nearest one and lists all.
    """
    if name not in ENCODERS:
        raise MicroLensError(
            f"encoder: there is no encoder '{name}'.{did_you_mean(str(name), ENCODERS)} "
            f"Set `encoder` to one of: {', '.join(ENCODERS)}."
        )
    return ENCODERS[name]


def create_encoder(
    name: str, frames: int = 5, size: int = 224, weights: str = "none", trainable_stages: int | None = None
) -> Encoder:
    """Build an encoder and load its weights.

    Parameters
    ----------
    name : a key of :data:`ENCODERS`.
    frames, size : frames of a clip, and their height and width in pixels.
    weights : ``kinetics`` (downloaded once by ``torch.hub``), a path of a checkpoint, or ``none`` (random).
    trainable_stages : how many top stages train; all by default. See
        :mod:`recbole_microlens.encoders.finetune`.

    Raises
    ------
    MicroLensError
        Unknown name; a clip that is too small for the network; weights that cannot be had or do not fit.
    """
    spec = encoder_spec(name)
    network = spec.build(frames, size)
    load_weights(network, spec.published, weights, ignore=spec.head)
    return Encoder(spec, network, trainable_stages)
