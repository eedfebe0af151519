"""Any image network of timm as an encoder: ``timm:NAME``, cut by its own grouping of parameters.

Follows timm's ``forward_features`` and ``forward_head(pre_logits=True)``, which pools, ``group_matcher(
coarse=True)`` for the stages, and the config of the weights (``pretrained_cfg``) for pixels and classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.finetune import CHOSEN, MODES
from recbole_microlens.encoders.frame_by_frame import each_frame, frames_of
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.staged_forward import StagedForward
from recbole_microlens.encoders.timm_networks import (
    PREFIX,
    Architecture,
    Resized,
    classification_layer,
    config_of,
    create,
    explained_by_timm,
    is_cached,
    next_multiple,
    patch_of,
    say_size,
    tagged,
)
from recbole_microlens.encoders.timm_pooling import (
    HeadPool,
    StatePool,
    other_poolings,
    own_pooling,
    set_pooling,
)
from recbole_microlens.encoders.timm_stages import stages_of, watched_on
from recbole_microlens.encoders.traced_stages import TracedStages, Watched
from recbole_microlens.encoders.weights import (
    PUBLISHED,
    WITHOUT_DOWNLOAD,
    PublishedWeights,
    is_none,
    read_file,
    require_file,
)
from recbole_microlens.errors import MicroLensError, explained, first_line

_TOLERANCE = 1e-4
_OTHER_WEIGHTS = "Use weights of this network."
# What says where weights lie, not what they are.
_PLACES = ("url", "file", "source", "hf_hub_filename", "state_dict")
_MODES = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest"}


@dataclass(frozen=True, kw_only=True)
class TimmSpec(EncoderSpec):
    """An image network of timm; see :class:`EncoderSpec`.

    Attributes
    ----------
    model : str
        Its name in timm, with the tag of the weights if one was given.
    cfg : dict
        The config of the weights.
    watched : Watched
        Its modules that are called one after another.
    class_token : bool
        Whether the first of its tokens is one.
    channels_last : bool
        Its maps are [N, H, W, C].
    """

    model: str
    cfg: dict[str, Any]
    watched: Watched
    class_token: bool
    channels_last: bool

    @property
    def is_cut(self) -> bool:
        """Whether it can be run in parts."""
        return len(self.stages) > 1

    @property
    def has_class_token(self) -> bool:
        return self.class_token

    def pooled_by(self, pooling: str | None) -> EncoderSpec:
        if pooling in (None, next(iter(self.pools))):
            return self
        spec = timm_spec(self.name, pooling)
        return frames_of(spec) if self.modality == "video" else spec

    def pool_of(self, network: nn.Module, pooling: str | None) -> Any:
        if not self.is_cut:
            return super().pool_of(network, pooling)
        head = HeadPool(_head_of(network), self.channels_last)
        return partial(each_frame, head) if self.modality == "video" else head

    def trainable_stages(self, mode: str, finetune_stages: int | str) -> int | str | None:
        is_part = mode == "top" or (MODES.get(mode) == CHOSEN and isinstance(finetune_stages, str))
        if is_part and not self.is_cut:
            raise MicroLensError(
                f"finetune: '{self.name}' cannot be cut: its modules are not called one after another. Set "
                "`finetune` to full or frozen, or choose another `encoder`."
            )
        return super().trainable_stages(mode, finetune_stages)

    def staged_forward(self, network: nn.Module) -> StagedForward:
        watched = self.watched
        if any(call.tensors for call in watched.chain):  # what they take has values now
            watched = watched_on(network, _size_of(network), _device_of(network))
        if [call.name for call in watched.chain] != [call.name for call in self.watched.chain]:
            raise MicroLensError(
                f"encoder: '{self.name}' calls other modules, or gives them other things, at each pass. "
                "Choose another encoder."
            )
        return TracedStages(network, self.stages, watched, _run_of(network, self.is_cut))

    def load(self, network: nn.Module, source: str | None) -> None:
        """As :meth:`EncoderSpec.load`, through timm's own loading: positions of another length are resampled,
        and names that a network had in other versions are translated.
        """
        if is_none(source):
            return
        own, donor = network.state_dict(), self._donor(_size_of(network), str(source))
        with explained(f"encoder_weights: {source} does not fit {self.name}", _OTHER_WEIGHTS):
            network.load_state_dict(
                {name: value for name, value in donor.state_dict().items() if name in own}
            )

    def require_weights(self, source: str | None, frames: int, size: int) -> None:
        if is_none(source):
            return
        if source not in PUBLISHED:
            require_file(Path(str(source)))
        elif not is_cached(self.cfg):
            self._donor(size, str(source))

    def _donor(self, size: int, source: str) -> nn.Module:
        """A network with the weights, loaded by timm; with as many classes as they have, so that nothing may
        be missing or left over.
        """
        if source not in PUBLISHED:
            with explained(f"encoder_weights: {source} does not fit {self.name}", _OTHER_WEIGHTS):
                return self._donor_of_file(size, dict(read_file(Path(source))))
        if not (self.cfg.get("hf_hub_id") or self.cfg.get("url")):
            raise MicroLensError(
                f"encoder_weights: timm has no weights of '{self.model}'. Set `encoder_weights` to none or "
                f"to a file, or choose one of: {', '.join(tagged(self.model)) or 'no other'}."
            )
        try:
            return create(self.model, size, pretrained=True)
        except Exception as error:
            where = self.cfg.get("hf_hub_id") or self.cfg.get("url")
            raise MicroLensError(
                f"encoder_weights: timm cannot load {where} for {self.name} ({first_line(error)}). Fill the "
                "cache of the Hugging Face hub on a machine with network, or give the file's path. "
                f"{WITHOUT_DOWNLOAD}"
            ) from error

    def _donor_of_file(self, size: int, state: dict[str, Tensor]) -> nn.Module:
        classes = state.get(f"{self.cfg.get('classifier')}.weight")
        number = self.cfg.get("num_classes", 0) if classes is None else len(classes)
        for n in dict.fromkeys((number, 0)):  # a file may have no classes
            overlay = {"state_dict": state, "num_classes": n}
            try:
                return create(
                    self.model, size, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=n
                )
            except RuntimeError as error:
                misfit = error
        raise misfit


@lru_cache(maxsize=16)
def timm_spec(name: str, pooling: str | None = None) -> TimmSpec:
    """The spec of ``timm:NAME``; builds the network without memory, and reads no weights.

    Parameters
    ----------
    name : str
        With the prefix; NAME is one of ``timm.list_models()``, also with the tag of certain weights
        (``resnet18.a1_in1k``).
    pooling : str, optional
        By which it pools in the place of its own: a key of ``pools`` of the spec without.

    Raises
    ------
    MicroLensError
        timm is not installed, has no such network or tag; or the network gives no features.
    """
    model = name.removeprefix(PREFIX)
    cfg = config_of(model)
    size = int((cfg.get("input_size") or (3, 224, 224))[-1])
    with explained_by_timm(name), torch.device("meta"):
        network: Any = create(model, size).eval()
    if not all(hasattr(network, part) for part in ("forward_features", "forward_head")):
        raise MicroLensError(
            f"encoder: {name} ({type(network).__name__}) has no forward_features and forward_head. Choose "
            "another network."
        )
    own = own_pooling(network)
    with explained_by_timm(name), torch.device("meta"):
        set_pooling(network, pooling)
    head = classification_layer(network, cfg)
    with explained_by_timm(name), torch.no_grad():
        watched = watched_on(network, size, "meta")
        states = network.forward_features(torch.empty(1, 3, size, size, device="meta"))
        features = _head_of(network)(states)
    stages = stages_of(network, watched, head)
    if len(stages) == 1:
        getLogger().warning("encoder: %s cannot be cut: set `finetune` to full or frozen.", name)
    patch = patch_of(network, cfg)
    layout = int(getattr(network, "num_prefix_tokens", 0)), getattr(network, "output_fmt", "") == "NHWC"
    with torch.device("meta"), torch.no_grad():
        poolings = dict.fromkeys((own, *other_poolings(network, states), pooling or own))
    return TimmSpec(
        name=name,
        paper_name="",
        modality="image",
        build=partial(_build, model, pooling),
        stages=stages,
        feature_dim=features.shape[-1],
        mean=tuple(cfg.get("mean", (0.485, 0.456, 0.406))),
        std=tuple(cfg.get("std", (0.229, 0.224, 0.225))),
        published=PublishedWeights(
            str(cfg.get("hf_hub_id") or cfg.get("url") or ""),
            str(cfg.get("license") or "see its model card"),
            str(cfg.get("tag") or "see its model card"),
        ),
        head=head,
        # Of layers below the head; what the last stage returns is pooled by the network's own.
        pools={each: StatePool(each, *layout) for each in poolings},
        pathways=Resized(patch, _MODES.get(str(cfg.get("interpolation")), "bicubic")) if patch > 1 else None,
        check=check_parts,
        model=model,
        cfg=cfg,
        watched=watched if len(stages) > 1 else Watched(),
        class_token=bool(layout[0]) and "token" in poolings,
        channels_last=layout[1],
    )


def check_parts(encoder: Any) -> None:
    """Compare an encoder's parts with the network's own forward on noise: ``EncoderSpec.check``.

    Raises
    ------
    MicroLensError
        They differ.
    """
    network = encoder.network
    device = _device_of(network)
    if device.type == "meta":
        return
    size, training = _size_of(network), encoder.training
    pixels = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    parts = encoder.spec.staged_forward(network)  # without what adapters put around it
    try:
        encoder.eval()
        with torch.no_grad(), explained_by_timm(encoder.spec.name):
            states = pixels
            for number in range(encoder.n_stages):
                states = parts(states, number, number + 1)
            own = _run_of(network, encoder.spec.is_cut)(pixels)
    finally:
        encoder.train(training)
    if not torch.allclose(states, own, atol=_TOLERANCE, rtol=_TOLERANCE):
        raise MicroLensError(
            f"encoder: '{encoder.spec.name}' ({type(network).__name__}) run in parts differs from its own "
            "forward in this version of timm. Choose another encoder."
        )


def _build(model: str, pooling: str | None, frames: int, size: int) -> nn.Module:
    with explained_by_timm(PREFIX + model):
        network: Any = create(model, size)
        set_pooling(network, pooling)
    cfg = config_of(model)
    wanted = int((cfg.get("input_size") or (3, size))[-1])
    if size != wanted:
        say_size(model, wanted, size)
    said = {key: value for key, value in cfg.items() if key not in _PLACES}
    network.config = Architecture(model, said)
    network.picture_size = next_multiple(size, patch_of(network, cfg))
    return network


def _size_of(network: Any) -> int:
    return int(network.picture_size)


def _device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _head_of(network: Any) -> Callable[[Any], Tensor]:
    return partial(network.forward_head, pre_logits=True)


def _run_of(network: Any, is_cut: bool) -> Callable[[Any], Tensor]:
    """What all stages give: what the head pools; of a network that cannot be cut, features."""
    return network.forward_features if is_cut else partial(_features, network)


def _features(network: Any, pictures: Tensor) -> Tensor:
    return _head_of(network)(network.forward_features(pictures))
