"""Any image network of timm as an encoder: ``timm:NAME``, cut by its own grouping of parameters.

Follows timm's ``forward_features`` and ``forward_head(pre_logits=True)``, ``group_matcher(coarse=True)`` for
the stages, and the config of the weights (``pretrained_cfg``) for pixels and classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from logging import getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.pooling import mean_of_maps
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
from recbole_microlens.encoders.traced_stages import TracedStages, Watched, watch
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

Stages = tuple[tuple[str, ...], ...]


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
    """

    model: str
    cfg: dict[str, Any]
    watched: Watched

    @property
    def is_cut(self) -> bool:
        """Whether it can be run in parts."""
        return len(self.stages) > 1

    def trainable_stages(self, mode: str, finetune_stages: int | str) -> int | str | None:
        if mode == "top" and not self.is_cut:
            raise MicroLensError(
                f"finetune: '{self.name}' cannot be cut: its modules are not called one after another. Set "
                "`finetune` to full or frozen, or choose another `encoder`."
            )
        return super().trainable_stages(mode, finetune_stages)

    def staged_forward(self, network: nn.Module) -> StagedForward:
        watched = self.watched
        if any(call.tensors for call in watched.chain):  # what they take has values now
            watched = _watched(network, _size_of(network), _device_of(network))
        if [call.name for call in watched.chain] != [call.name for call in self.watched.chain]:
            raise MicroLensError(
                f"encoder: '{self.name}' calls other modules, or gives them other things, at each pass. "
                "Choose another encoder."
            )
        return TracedStages(network, self.stages, watched, *_halves(network))

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
def timm_spec(name: str) -> TimmSpec:
    """The spec of ``timm:NAME``; builds the network without memory, and reads no weights.

    Parameters
    ----------
    name : str
        With the prefix; NAME is one of ``timm.list_models()``, also with the tag of certain weights
        (``resnet18.a1_in1k``).

    Raises
    ------
    MicroLensError
        timm is not installed, has no such network or tag; or the network gives no features.
    """
    model = name.removeprefix(PREFIX)
    cfg = config_of(model)
    size = int((cfg.get("input_size") or (3, 224, 224))[-1])
    with explained_by_timm(name), torch.device("meta"):
        network = create(model, size).eval()
    if not all(hasattr(network, part) for part in ("forward_features", "forward_head")):
        raise MicroLensError(
            f"encoder: {name} ({type(network).__name__}) has no forward_features and forward_head. Choose "
            "another network."
        )
    head = classification_layer(network, cfg)
    with explained_by_timm(name):
        watched = _watched(network, size, "meta")
        run, finish = _halves(network)
        with torch.no_grad():
            features = finish(run(torch.empty(1, 3, size, size, device="meta")))
    stages = _stages(network, watched, head)
    if len(stages) == 1:
        getLogger().warning("encoder: %s cannot be cut: set `finetune` to full or frozen.", name)
    patch = patch_of(network, cfg)
    return TimmSpec(
        name=name,
        paper_name="",
        modality="image",
        build=partial(_build, model),
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
        # What the last stage returns is pooled by the network's own head.
        pools={"the network's own head": mean_of_maps},
        pathways=Resized(patch, _MODES.get(str(cfg.get("interpolation")), "bicubic")) if patch > 1 else None,
        check=check_parts,
        model=model,
        cfg=cfg,
        watched=watched if len(stages) > 1 else Watched(),
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
    run, finish = _halves(network)
    parts = encoder.spec.staged_forward(network)  # without what adapters put around it
    try:
        encoder.eval()
        with torch.no_grad(), explained_by_timm(encoder.spec.name):
            states = pixels
            for number in range(encoder.n_stages):
                states = parts(states, number, number + 1)
            own = finish(run(pixels))
    finally:
        encoder.train(training)
    if not torch.allclose(states, own, atol=_TOLERANCE, rtol=_TOLERANCE):
        raise MicroLensError(
            f"encoder: '{encoder.spec.name}' ({type(network).__name__}) run in parts differs from its own "
            "forward in this version of timm. Choose another encoder."
        )


def _build(model: str, frames: int, size: int) -> nn.Module:
    with explained_by_timm(PREFIX + model):
        network: Any = create(model, size)
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


def _halves(network: Any) -> tuple[Any, Any]:
    return network.forward_features, partial(network.forward_head, pre_logits=True)


def _watched(network: Any, size: int, device: torch.device | str) -> Watched:
    """One pass over an empty picture, in eval mode; what modules take beside the states may not depend on
    the picture.
    """
    training = network.training
    run = network.forward_features
    try:
        network.eval()
        watched = watch(network, run, torch.zeros(1, 3, size, size, device=device))
        if any(call.tensors for call in watched.chain):
            other = watch(network, run, torch.ones(2, 3, size, size, device=device))
            if not _take_the_same(watched, other):
                return Watched()
    finally:
        network.train(training)
    for call in watched.chain:
        call.given = call.returned = None
        args, kwargs = call.beside
        call.beside = tuple(map(_kept, args)), {name: _kept(value) for name, value in kwargs.items()}
    return watched


def _kept(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value


def _take_the_same(one: Watched, other: Watched) -> bool:
    if [call.name for call in one.chain] != [call.name for call in other.chain]:
        return False
    pairs = [
        pair
        for calls in zip(one.chain, other.chain, strict=True)
        for pair in zip(calls[0].tensors, calls[1].tensors, strict=True)
    ]
    return all(a.shape == b.shape and (a.is_meta or torch.equal(a, b)) for a, b in pairs)


def _stages(network: Any, watched: Watched, head: tuple[str, ...]) -> Stages:
    """The modules by timm's coarse groups; what is before the chain in the first, what is after it in the
    last.
    """
    from timm.models import group_parameters

    names = [call.name for call in watched.chain]
    children = [name for name, _ in network.named_children()]
    tops = {name.split(".")[0] for name in (*names, *watched.before)}
    above = tuple(name for name in children if name not in tops and name not in head)
    before = tuple(dict.fromkeys(watched.before))
    if not names or not hasattr(network, "group_matcher"):
        return ((*before, *names, *above),)
    group_of = group_parameters(network, network.group_matcher(coarse=True), reverse=True)
    groups: list[tuple[str, ...]] = [before] if before else []
    current = 0 if before else None
    for name in names:
        inside = [group for parameter, group in group_of.items() if parameter.startswith(f"{name}.")]
        group = max(inside, default=current)
        if groups and (group is None or current is None or group <= current):
            groups[-1] += (name,)
        else:
            groups.append((name,))
        current = group if current is None else max(current, group if group is not None else current)
    groups[-1] += above
    return tuple(groups)
