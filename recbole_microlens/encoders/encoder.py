"""A content encoder: a library's network seen as stages in order, of which the top ones train."""

from __future__ import annotations

import dataclasses
import hashlib
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.finetune import cut_stages
from recbole_microlens.encoders.statistics import checkpointed, freeze_statistics
from recbole_microlens.encoders.walk import Features, Walk

if TYPE_CHECKING:
    from recbole_microlens.encoders.spec import EncoderSpec

TrunkOutput = tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class EncoderOptions:
    """How an encoder is used; see :func:`recbole_microlens.encoders.registry.create_encoder`."""

    frames: int = 5
    size: int = 224
    output: str = "pooled"
    pooling: str | None = None
    freeze_bn_statistics: bool = False
    gradient_checkpointing: bool = False
    finetune_embeddings: bool = False
    frame_pooling: str | None = None


class Trunk(nn.Module):
    """The frozen part: an item's content through the lower stages.

    ``forward``: content as the encoder takes it -> what the next stage takes, a tuple of tensors [N, ...].
    The trunk of the whole network ends in the features.
    """

    def __init__(self, encoder: Encoder, n_top: int):
        super().__init__()
        self.prepare, self.run, self.cut = encoder.prepare, encoder.run, encoder.n_stages - n_top
        self.stages = nn.ModuleList(encoder.stages()[: self.cut])

    def forward(self, content: Tensor) -> TrunkOutput:
        features = self.run(self.prepare(content), 0, self.cut)
        return tuple(features) if isinstance(features, list) else (features,)


class Top(nn.Module):
    """The trainable part: the upper stages, the pooling and the head.

    ``forward``: what :class:`Trunk` returns -> features [N, feature_dim].
    """

    def __init__(self, encoder: Encoder, n_top: int):
        super().__init__()
        self.run, self.first, self.last = encoder.run, encoder.n_stages - n_top, encoder.n_stages
        self.stages = nn.ModuleList(encoder.stages()[self.first :])

    def forward(self, trunk_output: TrunkOutput) -> Tensor:
        features = trunk_output[0] if len(trunk_output) == 1 else list(trunk_output)
        return self.run(features, self.first, self.last)


class Encoder(nn.Module):
    """A network of the registry, from an item's content to features.

    The lower stages are frozen when ``trainable_stages`` is less than all: they have no gradients and stay in
    eval mode, so their output for an item is a constant.

    Parameters
    ----------
    spec : the encoder's row in the registry.
    network : what ``spec.build`` returned; ``spec.head`` is needed only where the output is ``head``.
    trainable_stages : how many top stages train, 0 to ``n_stages``, or the name of a module from which on all
        train; all by default.
    options : the rest.
    """

    def __init__(
        self,
        spec: EncoderSpec,
        network: nn.Module,
        trainable_stages: int | str | None = None,
        options: EncoderOptions = EncoderOptions(),
    ):
        super().__init__()
        stages, self.trainable_stages = cut_stages(spec.stages, network, trainable_stages)
        self.spec = dataclasses.replace(spec, stages=stages)
        self.options = options
        self.network = network
        self.walk: Walk = spec.walk(self.spec, network)
        self.n_stages = len(self.walk.stages)
        self.pool = spec.pools[options.pooling or next(iter(spec.pools))]
        self.head = [network.get_submodule(name) for name in spec.head] if options.output == "head" else []
        self._dropouts: list[nn.Dropout] = []
        if options.output == "released" and spec.released_head:
            self.pool, self.head = spec.released_head.pool, spec.released_head.modules(network)
            self._dropouts = [m for part in self.head for m in part.modules() if isinstance(m, nn.Dropout)]
        self.frame_pool = _frame_pool(spec, options.frame_pooling)
        if spec.mean:
            self.register_buffer("scale", 1 / (255 * torch.tensor(spec.std)), persistent=False)
            self.register_buffer("shift", -torch.tensor(spec.mean) / torch.tensor(spec.std), persistent=False)
        for stage in self._frozen():
            stage.requires_grad_(False).eval()

    @property
    def feature_dim(self) -> int:
        head = self.spec.head[-1] if self.head else None
        if head:
            return self.network.get_submodule(head).out_features
        return self.frame_pool.feature_dim if self.frame_pool else self.spec.feature_dim

    @property
    def draws(self) -> bool:
        """Whether the head leaves something to chance in training, even where the encoder is frozen."""
        return bool(self._dropouts)

    @property
    def trains_embeddings(self) -> bool:
        """Whether the lowest stage trains though those above it are frozen."""
        return self.options.finetune_embeddings and 0 < self.trainable_stages < self.n_stages

    def stages(self) -> list[nn.ModuleList]:
        """The modules of each stage, in the order of the forward pass; the pooling over the frames and the
        head belong to the last one.
        """
        *lower, last = self.walk.stages
        above = [self.frame_pool] if self.frame_pool else []
        return [nn.ModuleList(modules) for modules in (*lower, [*last, *above, *self.head])]

    def trunk(self, n_top: int) -> Trunk:
        """All but the last ``n_top`` stages, from the content on. ``top(n)(trunk(n)(x))`` is the whole
        network.
        """
        return Trunk(self, n_top)

    def top(self, n_top: int) -> Top:
        """The last ``n_top`` stages with the pooling and the head."""
        return Top(self, n_top)

    def fingerprint(self, n_top: int) -> str:
        """SHA-256 of what :meth:`trunk` computes: two trunks with the same one give the same output.

        It covers the encoder's name and options, the cut, and every parameter and buffer below the cut.
        """
        frozen = nn.ModuleList(self.stages()[: self.n_stages - n_top])
        options = self.options
        what = (self.spec.name, self.spec.mean, self.spec.std, self.spec.stages, n_top)
        if self.frame_pool:
            what += (self.spec.modality, options.frame_pooling)
        digest = hashlib.sha256(
            repr((what, options.frames, options.size, options.output, options.pooling)).encode()
        )
        for key, value in frozen.state_dict().items():
            digest.update(f"{key} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def prepare(self, content: Tensor) -> Features:
        """An item's content -> the network's input.

        Pixels, uint8 [N, T, S, S, 3] or [N, S, S, 3], are normalised; the clips [N, 3, T, S, S] are a view in
        channels-last order, which is also what convolutions are fastest in. Tokens, int32 [N, 2, L], stay as
        they are.
        """
        if self.spec.modality == "text":
            return content
        channel_first = (0, 4, 1, 2, 3) if content.dim() == 5 else (0, 3, 1, 2)
        pixels = (content.float() * self.scale + self.shift).permute(channel_first)
        if self.frame_pool:
            pixels = self.frame_pool.look(pixels)
        return self.spec.pathways(pixels) if self.spec.pathways else pixels

    def pooled(self, content: Tensor) -> Tensor:
        """Content -> what :meth:`through_head` takes: the pooled output of the last stage."""
        return self._pool(self.walk(self.prepare(content), 0, self.n_stages))

    def through_head(self, pooled: Tensor) -> Tensor:
        """Pooled output of the last stage -> features [N, feature_dim]."""
        if self.draws:  # Dropout draws in the order of memory: the same whether the rows come from a cache.
            pooled = pooled.contiguous()
        for module in self.head:
            pooled = module(pooled)
        return pooled

    def run(self, features: Features, first: int, last: int) -> Features:
        """Run the stages ``first`` .. ``last - 1``; after the very last one, pool and apply the head."""
        if not (self.options.gradient_checkpointing and torch.is_grad_enabled()):
            return self._run(features, first, last)
        for number in range(first, last):
            part = partial(self._run, first=number, last=number + 1)
            if number < self.n_stages - self.trainable_stages:
                features = part(features)
            else:
                features = checkpointed(part, features, self.walk.stages[number])
        return features

    def forward(self, content: Tensor | TrunkOutput) -> Tensor:
        """Features [N, feature_dim] of N items.

        Parameters
        ----------
        content : ``video``: uint8 [N, T, S, S, 3]; ``image``: uint8 [N, S, S, 3]; ``text``: int32 [N, 2, L],
            token ids and attention mask. Or, as a tuple, what :meth:`trunk` gave for them.
        """
        if not isinstance(content, tuple):
            trains = self.trains_embeddings or self.trainable_stages == self.n_stages
            with torch.set_grad_enabled(torch.is_grad_enabled() and trains):
                content = self.trunk(self.trainable_stages)(content)
        return self.top(self.trainable_stages)(content)

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        for stage in self._frozen():
            stage.eval()
        for dropout in self._dropouts:
            dropout.train(mode)
        if self.options.freeze_bn_statistics:
            freeze_statistics(self.network.modules())
        return self

    def _run(self, features: Features, first: int, last: int) -> Features:
        features = self.walk(features, first, last)
        return self.through_head(self._pool(features)) if first < last == self.n_stages else features

    def _pool(self, features: Features) -> Tensor:
        pooled = self.pool(features)
        return self.frame_pool(pooled) if self.frame_pool else pooled

    def _frozen(self) -> list[nn.ModuleList]:
        return self.stages()[int(self.trains_embeddings) : self.n_stages - self.trainable_stages]


def _frame_pool(spec: EncoderSpec, name: str | None) -> nn.Module | None:
    if not spec.frame_pools:
        return None
    return spec.frame_pools[name or next(iter(spec.frame_pools))](spec.feature_dim)
