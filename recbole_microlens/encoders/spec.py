"""What a row of the table of encoders says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from recbole_microlens.encoders.pooling import mean_of_maps
from recbole_microlens.encoders.released_head import ReleasedHead
from recbole_microlens.encoders.walk import Features, stage_walk
from recbole_microlens.encoders.weights import PackagedWeights, PublishedWeights, load_published


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the table: everything the package knows about an encoder.

    Attributes
    ----------
    name : what ``--encoder`` takes.
    paper_name : the encoder's name in the tables of the paper; empty if it is in none.
    modality : ``video``, ``image`` or ``text``.
    build : ``(frames, size) -> network``, the library's own network, with its classification layer if
        ``head`` names one.
    stages : names of the network's modules in the order of the forward pass, grouped into the stages that are
        frozen or trained as one. The last stage is the top-most.
    feature_dim : length of the pooled feature vector.
    mean, std : per RGB channel, on pixels in [0, 1]; empty for text.
    published : the weights that ``encoder_weights: pretrained`` loads.
    head : names of the modules of the classification layer, which take the pooled features; the last one is
        linear. Empty if none is published. They are removed unless their logits are asked for.
    released_head : how the released runs read them; None where these took the pooled features.
    released_stages : how many top stages the released runs of the paper left trainable.
    least_frames, least_size : the smallest clip that the network takes.
    pathways : turns clips [N, 3, T, S, S] into the network's input where it is not the clip itself.
    walk : ``(spec, network) -> Walk``, how the network is run in parts.
    pools : by name, what the last stage returns -> features [N, feature_dim]. The first is the default.
    frame_pools : by name, ``(features of a frame) -> module`` that pools over the frames; only where an image
        network looks at each frame of a clip, see :mod:`recbole_microlens.encoders.frames`. The first is the
        default.
    load : ``(spec, network, source)``, how weights get into the network; ``source`` is ``pretrained``,
        ``none`` or a path.
    check : ``(encoder)``, raises where the encoder cannot be cut as it is; for networks nobody has tried.
    """

    name: str
    paper_name: str
    modality: str
    build: Callable[[int, int], nn.Module]
    stages: tuple[tuple[str, ...], ...]
    feature_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    published: PublishedWeights | PackagedWeights
    head: tuple[str, ...] = ()
    released_head: ReleasedHead | None = None
    released_stages: int = 1
    least_frames: int = 1
    least_size: int = 32
    pathways: Callable[[Tensor], Features] | None = None
    walk: Callable = stage_walk
    pools: Mapping[str, Callable[[Features], Tensor]] = field(default_factory=lambda: {"mean": mean_of_maps})
    frame_pools: Mapping[str, Callable[[int], nn.Module]] = field(default_factory=dict)
    load: Callable[["EncoderSpec", nn.Module, str], None] = load_published
    check: Callable | None = None

    def takes_head(self, output: str) -> bool:
        """Whether logits are what an ``encoder_output`` gives."""
        return output == "head" or (output == "released" and self.released_head is not None)
