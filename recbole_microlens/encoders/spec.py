"""What a row of the table of encoders says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from recbole_microlens.encoders.encoder import mean_of_maps, stage_walk
from recbole_microlens.encoders.weights import PublishedWeights, load_weights


def load_published(spec: "EncoderSpec", network: nn.Module, source: str | None) -> None:
    """Load weights of the published form, or of a file, into a network."""
    load_weights(network, spec.published, source, ignore=spec.head)


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the table: everything the package knows about an encoder.

    Attributes
    ----------
    name : what ``--encoder`` takes.
    paper_name : the encoder's name in Table 6 of the paper.
    modality : ``video``, ``image`` or ``text``.
    build : ``(frames, size) -> network``, the library's own network without its classification layer.
    stages : names of the network's modules in the order of the forward pass, grouped into the stages that are
        frozen or trained as one. The last stage is the top-most.
    head : prefixes of checkpoint keys that belong to the classification layer; they are not loaded.
    feature_dim : length of the pooled feature vector.
    mean, std : per RGB channel, on pixels in [0, 1]; empty for text.
    published : the weights that ``encoder_weights: pretrained`` loads.
    released_stages : how many top stages the released runs of the paper left trainable.
    pathways : turns clips [N, 3, T, S, S] into the network's input where it is not the clip itself.
    walk : ``(spec, network) -> Walk``, how the network is run in parts.
    pools : by name, what the last stage returns -> features [N, feature_dim]. The first is the default.
    load : ``(spec, network, source)``, loads weights into the network.
    check : ``(encoder)``, raises where the encoder cannot be cut as it is; for networks nobody has tried.
    """

    name: str
    paper_name: str
    modality: str
    build: Callable[[int, int], nn.Module]
    stages: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    feature_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    published: PublishedWeights
    released_stages: int = 1
    pathways: Callable | None = None
    walk: Callable = stage_walk
    pools: Mapping[str, Callable] = field(default_factory=lambda: {"mean": mean_of_maps})
    load: Callable = load_published
    check: Callable | None = None
