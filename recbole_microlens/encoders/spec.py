"""What the table of encoders says of one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from recbole_microlens.encoders.finetune import Stages, trainable_stages
from recbole_microlens.encoders.pooling import mean_of_maps
from recbole_microlens.encoders.released_head import ReleasedHead
from recbole_microlens.encoders.staged_forward import (
    Features,
    SequentialStages,
    StagedForward,
    Step,
    modules_of,
)
from recbole_microlens.encoders.weights import (
    Fit,
    PackagedWeights,
    PublishedWeights,
    load_published,
    require_published,
)


@dataclass(frozen=True)
class EncoderSpec:
    """Everything the package knows about an encoder.

    Attributes
    ----------
    name : str
        What ``--encoder`` takes.
    paper_name : str
        The encoder's name in the tables of the paper; empty if it is in none.
    modality : {'video', 'image', 'text', 'audio'}
    build : callable
        ``(frames, size) -> network``, the library's own network, with its classification layer if ``head``
        names one.
    stages : tuple of tuple of str
        Names of the network's modules in the order of the forward pass, grouped into the stages that are
        frozen or trained as one. The last stage is the top-most.
    feature_dim : int
        Length of the pooled feature vector.
    mean, std : tuple of float
        Per RGB channel, on pixels in [0, 1]; empty for text and sound.
    published : PublishedWeights or PackagedWeights
        What ``encoder_weights: pretrained`` loads.
    head : tuple of str
        Names of the modules of the classification layer, which take the pooled features; the last one is
        linear. Empty if none is published. They are removed unless their logits are asked for.
    released_head : ReleasedHead, optional
        How the released runs read the logits; None where these took the pooled features.
    least_frames, least_size : int
        The smallest clip that the network takes.
    pathways : callable, optional
        Turns clips [N, 3, T, S, S] into the network's input where it is not the clip itself.
    step : callable, optional
        ``network -> ((module, features) -> features)``, how a module of a stage is called where it takes
        more than the features.
    fit : callable, optional
        ``(checkpoint, the network's own) -> checkpoint``, reshapes weights that may differ in length.
    pools : mapping of str to callable
        By name, what the last stage returns -> features [N, feature_dim]. The first is the default. Where
        :meth:`pool_of` has another one for the last stage, of what a lower one returns.
    frame_pools : mapping of str to callable
        By name, ``(features of a frame) -> module`` that pools over the frames; only where an image network
        looks at each frame of a clip, see :mod:`recbole_microlens.encoders.frame_by_frame`. The first is the
        default.
    picture_frames : int
        How often a picture is repeated to make the clip that a network of videos takes it as; 0 where the
        network was not trained on pictures.
    check : callable, optional
        ``(encoder)``, raises where the encoder does not compute what its library does; for networks that
        no test has tried.
    sample_rate : int, optional
        Of sound: samples a second that the network was trained with.
    front_end : callable, optional
        ``() -> FrontEnd``, what turns windows of sound into the network's input, see
        :mod:`recbole_microlens.encoders.sound.front_end`; sound only.
    """

    name: str
    paper_name: str
    modality: str
    build: Callable[[int, int], nn.Module]
    stages: Stages
    feature_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    published: PublishedWeights | PackagedWeights
    head: tuple[str, ...] = ()
    released_head: ReleasedHead | None = None
    least_frames: int = 1
    least_size: int = 32
    pathways: Callable[[Tensor], Features] | None = None
    step: Callable[[nn.Module], Step] | None = None
    fit: Fit | None = None
    pools: Mapping[str, Callable[[Any], Tensor]] = field(default_factory=lambda: {"mean": mean_of_maps})
    frame_pools: Mapping[str, Callable[[int], Any]] = field(default_factory=dict)
    picture_frames: int = 0
    check: Callable[[Any], None] | None = None
    sample_rate: int | None = None
    front_end: Callable[[], nn.Module] | None = None

    def takes_head(self, output: str) -> bool:
        """Whether logits are what an ``encoder_output`` gives."""
        return output == "head" or (output == "released" and self.released_head is not None)

    def trainable_stages(self, mode: str, finetune_stages: int | str) -> int | str | None:
        """What trains under the settings ``finetune`` and ``finetune_stages``; see
        :func:`recbole_microlens.encoders.finetune.trainable_stages`.
        """
        return trainable_stages(mode, finetune_stages, len(self.stages))

    @property
    def has_class_token(self) -> bool:
        """Whether the first token of what the last stage returns stands for the whole."""
        return "cls" in self.pools

    def pooled_by(self, pooling: str | None) -> EncoderSpec:
        """The spec of the network with a pooling (a key of :attr:`pools`); another one where the pooling is a
        part of the network.
        """
        return self

    def pool_of(self, network: nn.Module, pooling: str | None) -> Callable[[Any], Tensor]:
        """What the last stage of a network returns -> features [N, feature_dim], by a key of :attr:`pools` or
        the first.
        """
        return self.pools[pooling or next(iter(self.pools))]

    def staged_forward(self, network: nn.Module) -> StagedForward:
        """How the stages of a network that :attr:`build` returned are run."""
        return SequentialStages(modules_of(network, self.stages), self.step and self.step(network))

    def load(self, network: nn.Module, source: str | None) -> None:
        """Load weights into a network, in place.

        Parameters
        ----------
        network : nn.Module
            What :attr:`build` returned.
        source : str, optional
            ``pretrained`` (or ``kinetics``), ``none``, or the path of a checkpoint.

        Raises
        ------
        MicroLensError
            The weights cannot be had or do not fit.
        """
        load_published(network, source, self.published, self.head, self.fit)

    def require_weights(self, source: str | None, frames: int, size: int) -> None:
        """Look for what the encoder is loaded from, and download what is not here.

        Parameters
        ----------
        source : str, optional
            As in :meth:`load`; or a hub id where the library knows such.
        frames, size : int
            Of the clips that it will see: frames, and height and width in pixels.

        Raises
        ------
        MicroLensError
            It is neither here nor can it be downloaded; the message says how a first run goes without.
        """
        require_published(source, self.published)
