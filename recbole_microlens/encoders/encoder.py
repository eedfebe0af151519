"""A content encoder: a library's network seen as stages in order, of which the top ones train."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from recbole_microlens.encoders.batchnorm import checkpointed, freeze_statistics
from recbole_microlens.encoders.encoder_options import EncoderOptions
from recbole_microlens.encoders.finetune import cut_stages
from recbole_microlens.encoders.frame_by_frame import FrameByFrame, MeanOfFrames
from recbole_microlens.encoders.pooling import has_channels_last, tokens_of
from recbole_microlens.encoders.sound.windows import WindowByWindow, each_window
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.staged_forward import Features, StagedForward
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.errors import MicroLensError

Wrap = Callable[[StagedForward], StagedForward]
# What transformers writes into a config, or reads from it, beside the architecture.
_NOT_OF_THE_NETWORK = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
_FULL_SCALE = 32768  # of samples in int16


class Encoder(nn.Module):
    """A network of the registry, from an item's content to features.

    The lower stages are frozen when ``trainable_stages`` is less than all: they have no gradients and stay in
    eval mode, so their output for an item is a constant. :meth:`forward_trunk` and :meth:`forward_top` are
    the two parts; their composition is the whole network.

    Parameters
    ----------
    spec : EncoderSpec
    network : nn.Module
        What ``spec.build`` returned, weights loaded; ``spec.head`` is needed only where the output is
        ``head``.
    options : EncoderOptions
    wrap : callable, optional
        What is put around the network as it is run in parts.

    Attributes
    ----------
    n_stages, trainable_stages : int
        How many stages there are, and how many top ones train.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, spec: EncoderSpec, network: nn.Module, options: EncoderOptions, wrap: Wrap | None = None
    ):
        super().__init__()
        stages, self.trainable_stages = cut_stages(spec.stages, network, options.trainable_stages)
        self.spec = dataclasses.replace(spec, stages=stages)
        self.options = options
        self.network = network
        staged_forward = self.spec.staged_forward(network)
        staged_forward = wrap(staged_forward) if wrap else staged_forward
        self.frame_pool = _frame_pool(spec, options.frame_pooling)
        self.front_end = spec.front_end() if spec.front_end else None
        self.staged_forward: StagedForward = staged_forward
        if self.frame_pool or self.front_end:
            self.staged_forward = (FrameByFrame if self.frame_pool else WindowByWindow)(staged_forward)
        self.n_stages = len(stages)
        self.pool = spec.pool_of(network, options.pooling)
        self.head = [network.get_submodule(name) for name in spec.head] if options.output == "head" else []
        self._dropouts: list[nn.Dropout] = []
        if options.output == "released" and spec.released_head:
            self.pool, self.head = spec.released_head.pool, spec.released_head.modules(network)
            self._dropouts = [m for part in self.head for m in part.modules() if isinstance(m, nn.Dropout)]
        if spec.mean:
            self.register_buffer("scale", 1 / (255 * torch.tensor(spec.std)), persistent=False)
            self.register_buffer("shift", -torch.tensor(spec.mean) / torch.tensor(spec.std), persistent=False)
        for stage in self._frozen():
            stage.requires_grad_(False).eval()

    @property
    def feature_dim(self) -> int:
        """Length of the feature vector of an item."""
        if self.head and self.spec.head:
            linear: Any = self.network.get_submodule(self.spec.head[-1])
            return linear.out_features
        return self.frame_pool.feature_dim if self.frame_pool else self.spec.feature_dim

    @property
    def draws(self) -> bool:
        """Whether the head draws at random in training (dropout), even where the encoder is frozen."""
        return bool(self._dropouts)

    @property
    def trains_embeddings(self) -> bool:
        """Whether the lowest stage trains though those above it are frozen."""
        return self.options.finetune_embeddings and 0 < self.trainable_stages < self.n_stages

    @property
    def trained_pool(self) -> nn.Module | None:
        """The pooling over the frames if it has weights: it stands above the stages, and always trains."""
        return self.frame_pool if self.frame_pool and self.frame_pool.trains else None

    @property
    def trained_part(self) -> str:
        """What trains, in words."""
        below = ", and the embeddings" if self.trains_embeddings else ""
        return f"top {self.trainable_stages} of {self.n_stages} stages train{below}"

    def stages(self) -> list[nn.ModuleList]:
        """The modules of each stage, in the order of the forward pass; the head belongs to the last one, and
        so does a pooling over the frames that has nothing to train.
        """
        *lower, last = self.staged_forward.stages
        above = [self.frame_pool] if self.frame_pool and not self.trained_pool else []
        return [nn.ModuleList(modules) for modules in (*lower, [*last, *above, *self.head])]

    def forward(self, content: Tensor) -> Tensor:
        """Features of items.

        Parameters
        ----------
        content : Tensor
            ``video``: uint8 [N, T, S, S, 3]; ``image``: uint8 [N, S, S, 3]; ``text``: int32 [N, 2, L], token
            ids and attention mask; ``audio``: int16 [N, W, L], W windows of L samples at the spec's
            ``sample_rate``, zero-padded at the end.

        Returns
        -------
        Tensor [N, feature_dim]
        """
        trains = self.trains_embeddings or self.trainable_stages == self.n_stages
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains):
            output = self.forward_trunk(content, self.trainable_stages)
        return self.forward_top(output, self.trainable_stages)

    def forward_trunk(self, content: Tensor, n_top: int) -> TrunkOutput:
        """All but the last ``n_top`` stages.

        Parameters
        ----------
        content : Tensor [N, ...]
            As :meth:`forward` takes it.
        n_top : int
            0 to ``n_stages``; with 0 the output is the features themselves, or those of each frame,
            [N, d, T], below a pooling over the frames that trains.

        Returns
        -------
        TrunkOutput
            Of N items.
        """
        return TrunkOutput.of(self._run(self.prepare(content), 0, self.n_stages - n_top))

    def forward_top(self, output: TrunkOutput, n_top: int) -> Tensor:
        """The last ``n_top`` stages with the pooling and the head, on what :meth:`forward_trunk` returned.

        Returns
        -------
        Tensor [N, feature_dim]
        """
        features = self._run(output.features, self.n_stages - n_top, self.n_stages)
        return self.trained_pool(features) if self.trained_pool else features

    def prepare(self, content: Tensor) -> Features:
        """An item's content -> the network's input.

        Pixels, uint8 [N, T, S, S, 3] or [N, S, S, 3], are normalised; the clips [N, 3, T, S, S] are a view in
        channels-last order, which is also what convolutions are fastest in. Tokens, int32 [N, 2, L], stay as
        they are. Sound, int16 [N, W, L], becomes what the front end makes of each window, and how many steps
        of that are sound: [N, W, ...] and [N, W].
        """
        if self.spec.modality == "text":
            return content
        if self.front_end:
            return each_window(self.front_end, content.float() / _FULL_SCALE)
        channel_first = (0, 4, 1, 2, 3) if content.dim() == 5 else (0, 3, 1, 2)
        pixels = (content.float() * self.scale + self.shift).permute(channel_first)
        if self.frame_pool:
            pixels = self.frame_pool.look(pixels)
        return self.spec.pathways(pixels) if self.spec.pathways else pixels

    def pooled(self, content: Tensor) -> Tensor:
        """Content -> what :meth:`through_head` takes: the pooled output of the last stage."""
        return self._pool(self.staged_forward(self.prepare(content), 0, self.n_stages))

    def tokens(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """What the last stage gives for each token or place of an item, before it is pooled.

        Parameters
        ----------
        content : Tensor [N, ...]
            Images or titles, as :meth:`forward` takes them.

        Returns
        -------
        tokens : Tensor [N, T, feature_dim]
            The class token first; the pooled features stand there where the network has none, or the mean of
            its places where the head gives features of another length.
        real : Tensor [N, T], bool
            False for the padding of a title.
        """
        features = self.staged_forward(self.prepare(content), 0, self.n_stages)
        if isinstance(features, Tensor) and features.dim() == 2:
            raise MicroLensError(f"encoder: '{self.spec.name}' gives no tokens. Choose another encoder.")
        tokens, real = tokens_of(features, channels_last=has_channels_last(self.pool))
        if self.spec.has_class_token:
            return tokens, real
        pooled = self._pool(features)
        if pooled.shape[1] != tokens.shape[2]:  # of a head that has layers of its own
            pooled = tokens.mean(1)
        with_pooled = torch.cat([pooled.unsqueeze(1), tokens], dim=1)
        return with_pooled, pad(real, (1, 0), value=True)

    def through_head(self, pooled: Tensor) -> Tensor:
        """Pooled output of the last stage -> features [N, feature_dim]."""
        if self.draws:  # Dropout draws in the order of memory: the same whether the states come from a cache.
            pooled = pooled.contiguous()
        for module in self.head:
            pooled = module(pooled)
        return pooled

    def fingerprint(self, n_top: int) -> dict[str, str | int]:
        """Everything that :meth:`forward_trunk` depends on, by name: two encoders with the same one give the
        same output for the same content.

        It covers the encoder's name and options, the cut, the network's config where it has one (a folder's
        ``config.json``), and every parameter and buffer below the cut.
        """
        return {
            "encoder": self.spec.name,
            "trainable stages": n_top,
            "cut": repr(self.spec.stages),
            "weights": hash_tensors(self._below(n_top)),
            "architecture": _hash_config(self.network),
            **{name: getattr(self.options, name) for name in ("frames", "size", "output", "pooling")},
            **({"frame pooling": self.options.frame_pooling or "mean"} if self.frame_pool else {}),
            **({"front end": repr(self.front_end)} if self.front_end else {}),
        }

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        for stage in self._frozen():
            stage.eval()
        for dropout in self._dropouts:
            dropout.train(mode)
        if self.options.freeze_bn_statistics:
            freeze_statistics(self.network.modules())
        return self

    def _run(self, features: Features, first: int, last: int) -> Any:
        """Run the stages ``first`` .. ``last - 1``; after the very last one, pool and apply the head. A
        pooling over the frames that trains is left to :meth:`forward_top`.
        """
        if not (self.options.gradient_checkpointing and torch.is_grad_enabled()):
            return self._run_at_once(features, first, last)
        for number in range(first, last):
            part = partial(self._run_at_once, first=number, last=number + 1)
            if number < self.n_stages - self.trainable_stages:
                features = part(features)
            else:
                features = checkpointed(part, features, self.staged_forward.stages[number])
        return features

    def _run_at_once(self, features: Features, first: int, last: int) -> Features:
        features = self.staged_forward(features, first, last)
        if not first < last == self.n_stages:
            return features
        return self.pool(features) if self.trained_pool else self.through_head(self._pool(features))

    def _pool(self, features: Features) -> Tensor:
        pooled = self.pool(features)
        return self.frame_pool(pooled) if self.frame_pool else pooled

    def _frozen(self) -> list[nn.ModuleList]:
        return self.stages()[int(self.trains_embeddings) : self.n_stages - self.trainable_stages]

    def _below(self, n_top: int) -> list[tuple[str, Tensor]]:
        """Parameters and buffers, by name, that are no part of the top stages."""
        top = {
            id(tensor)
            for stage in self.stages()[self.n_stages - n_top :]
            for tensor in (*stage.parameters(), *stage.buffers())
        } | {id(parameter) for parameter in (self.trained_pool or nn.Module()).parameters()}
        named = sorted([*self.named_parameters(), *self.named_buffers()], key=lambda pair: pair[0])
        return [(name, tensor) for name, tensor in named if id(tensor) not in top]


def hash_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of tensors with their names, types and shapes."""
    result = hashlib.sha256()
    for name, tensor in named:
        plain = tensor.detach().cpu().contiguous()
        result.update(f"{name} {plain.dtype} {tuple(plain.shape)} ".encode())
        result.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return result.hexdigest()


def _hash_config(network: nn.Module) -> str:
    """What a config says of the network that its weights do not show, such as the activation."""
    config = getattr(network, "config", None)
    if config is None:
        return ""
    said = {key: value for key, value in config.to_dict().items() if key not in _NOT_OF_THE_NETWORK}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _frame_pool(spec: EncoderSpec, name: str | None) -> MeanOfFrames | None:
    if not spec.frame_pools:
        return None
    return spec.frame_pools[name or next(iter(spec.frame_pools))](spec.feature_dim)
