"""Networks of timm by name: what it knows, how they are built, and what the config of their weights says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from logging import getLogger
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from recbole_microlens.errors import MicroLensError, did_you_mean, explained

PREFIX = "timm:"


@dataclass(frozen=True)
class Architecture:
    """What :meth:`~recbole_microlens.encoders.encoder.Encoder.fingerprint` takes of a network of timm.

    Attributes
    ----------
    name : str
    pretrained_cfg : dict
        timm's, without the places of files.
    """

    name: str
    pretrained_cfg: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"timm": self.name, "pretrained_cfg": self.pretrained_cfg}


@dataclass(frozen=True)
class Resized:
    """Pictures [N, 3, S, S] -> the next multiple of ``patch`` pixels, by the interpolation of the weights'
    config.
    """

    patch: int
    mode: str

    def __call__(self, pictures: Tensor) -> Tensor:
        size = next_multiple(pictures.shape[-1], self.patch)
        if size == pictures.shape[-1]:
            return pictures
        corners = None if self.mode == "nearest" else False
        return interpolate(pictures, size=(size, size), mode=self.mode, align_corners=corners)


@lru_cache(maxsize=64)
def config_of(model: str) -> dict[str, Any]:
    """The config of the weights of a network; raises where timm is not there, or does not know it."""
    try:
        import timm
        from timm.models import get_arch_pretrained_cfgs, split_model_name_tag
    except ImportError as error:
        raise MicroLensError(
            f"encoder: {PREFIX}{model} needs timm, which is not installed. Run: pip install "
            "'recbole-microlens[timm]'"
        ) from error
    base, tag = split_model_name_tag(model)
    if not timm.is_model(base):
        near = did_you_mean(base, timm.list_models())
        raise MicroLensError(f"encoder: timm has no network '{base}'.{near} timm.list_models() lists all.")
    known = get_arch_pretrained_cfgs(base)
    if tag and model not in known:
        raise MicroLensError(
            f"encoder: timm has no weights '{tag}' of '{base}'.{did_you_mean(model, known)} Use one of: "
            f"{', '.join(known)}."
        )
    cfg = timm.get_pretrained_cfg(model)
    return cfg.to_dict() if cfg else {}


def tagged(model: str) -> list[str]:
    """Names of a network with the tags of all weights that it has."""
    import timm

    return timm.list_pretrained(f"{model.split('.')[0]}.*")


def is_cached(cfg: dict[str, Any]) -> bool:
    """Whether the hub's cache on this machine has the weights."""
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin")
    hub_id = cfg.get("hf_hub_id")
    return bool(hub_id) and any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in files)


@contextmanager
def explained_by_timm(name: str) -> Iterator[None]:
    """Errors of timm as a :class:`MicroLensError`."""
    with explained(
        f"encoder: timm cannot build or run {name}", "Choose another network, or another `frame_size`."
    ):
        yield


def create(model: str, size: int, **options: Any) -> Any:
    """timm's network; one with positions of a fixed number of patches is built for ``size`` pixels, enlarged
    to whole patches.
    """
    import timm

    if not config_of(model).get("fixed_input_size"):
        return timm.create_model(model, **options)
    patch = 1
    for _ in range(2):
        network = timm.create_model(model, img_size=next_multiple(size, patch), **options)
        patch, before = patch_of(network, config_of(model)), patch
        if next_multiple(size, patch) == next_multiple(size, before):
            break
    return network


def patch_of(network: Any, cfg: dict[str, Any]) -> int:
    """Pixels of a patch; 1 of a network that takes any size."""
    if not cfg.get("fixed_input_size"):
        return 1
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", 1)
    return int(patch if isinstance(patch, int) else patch[-1])


def next_multiple(size: int, patch: int) -> int:
    """The least multiple of ``patch`` that is no less than ``size``."""
    return -(-size // patch) * patch


def classification_layer(network: Any, cfg: dict[str, Any]) -> tuple[str, ...]:
    """The classification layer, where it is one linear layer."""
    name = cfg.get("classifier")
    if not isinstance(name, str) or not name or not cfg.get("num_classes"):
        return ()
    try:
        return (name,) if isinstance(network.get_submodule(name), nn.Linear) else ()
    except AttributeError:
        return ()


@lru_cache(maxsize=64)
def say_size(model: str, wanted: int, size: int) -> None:
    """Log once that pictures have another size than those the weights were trained on."""
    getLogger().info(
        "encoder: the weights of timm:%s are of pictures of %d pixels, frame_size is %d; tables of positions "
        "are resampled.",
        model, wanted, size,
    )  # fmt: skip
