"""Weights of a network of ``transformers``: from the hub, a folder or a file, fitted to its grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor, nn

from recbole_microlens.encoders.positions import Grid, interpolate_positions
from recbole_microlens.encoders.transformers_families import FAMILIES, PLAIN
from recbole_microlens.encoders.weights import WITHOUT_DOWNLOAD, read_state, require_fit, wrong_shapes
from recbole_microlens.errors import MicroLensError, explained, first_line

if TYPE_CHECKING:
    from recbole_microlens.encoders.transformers_spec import TransformersSpec

State = dict[str, Tensor]
Loaded = TypeVar("Loaded")

_POSITIONS = ("position_embeddings", "position_embedding.weight", "pos_embed", "time_embeddings")


def load_transformer(spec: TransformersSpec, network: nn.Module, source: str | None) -> None:
    """Load weights into a network, in place; ``EncoderSpec.load`` of these rows.

    Parameters
    ----------
    source : ``pretrained`` (the row's own), a hub id, a folder as ``from_pretrained`` takes it, a checkpoint
        file (``.safetensors``, or what ``torch.load(weights_only=True)`` reads), or ``none``. Tables of
        positions of another length are interpolated.

    Raises
    ------
    MicroLensError
        The weights cannot be had; a key or a shape does not match.
    """
    if source is None or str(source).lower() == "none":
        return
    source = published_source(spec) if source == "pretrained" else source
    from_file = Path(source).is_file()
    state, report = _from_file(network, Path(source), spec) if from_file else _from_folder(network, source)
    _check(state, report, network, spec, source)
    network.load_state_dict(state)


def published_source(spec: TransformersSpec) -> str:
    """The hub id or folder of a row's own weights; raises :class:`MicroLensError` where there are none."""
    if not spec.source:
        raise MicroLensError(
            f"encoder_weights: nobody published weights of '{spec.name}'. Set `encoder_weights` to none, "
            "or to a folder or file."
        )
    return spec.source


def fetched(what: str, source: str, load: Callable[[bool], Loaded]) -> Loaded:
    """Call ``load(local_files_only)``: what is on this machine is taken from it, the rest is downloaded once.

    Parameters
    ----------
    what : the setting that asks for it, the start of a message.

    Raises
    ------
    MicroLensError
        It is neither here nor can it be downloaded, or the folder does not hold it.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    with (
        _quiet(),
        explained(f"{what}: cannot load {source}", "Use another folder or hub id; code in it is never run."),
    ):
        try:
            return load(True)
        except OSError as error:
            missing = error
        if Path(source).exists():
            raise MicroLensError(f"{what}: {source} cannot be loaded ({first_line(missing)}).") from missing
        try:
            return load(False)
        except OSError as error:
            raise MicroLensError(
                f"{what}: {source} is no folder here, is not in the cache {HF_HUB_CACHE}, and cannot be "
                f"downloaded ({first_line(error)}). Give the path of a folder that holds it, fill the cache "
                "on a machine with network, or set `encoder_weights: none` and an `encoder` of the table (of "
                f"titles bert_bytes, whose tokenizer is no file). {WITHOUT_DOWNLOAD}"
            ) from error


def config_at(source: str, setting: str = "encoder"):
    """The config in a folder or on the hub; of a model of pictures and texts, its picture tower's."""
    from transformers import AutoConfig

    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise MicroLensError(
            f"{setting}: {source} holds no config.json. Give a folder that transformers' save_pretrained "
            "wrote, or a hub id."
        )

    def load(local: bool):
        return AutoConfig.from_pretrained(source, local_files_only=local, trust_remote_code=False)

    config = fetched(setting, source, load)
    config = getattr(config, "vision_config", config)
    names = FAMILIES.get(config.model_type, PLAIN).names
    if names:
        config.attribute_map = {**config.attribute_map, **names}
    return config


def _from_folder(network: nn.Module, source: str) -> tuple[State, Mapping]:
    from recbole_microlens.encoders.transformers_spec import grid_of

    donor, report = donor_of(network, source)
    old = grid_of(donor.config) if hasattr(donor.config, "image_size") else None
    return _fitted(donor.state_dict(), network, old), report


def donor_of(network: nn.Module, source: str) -> tuple[nn.Module, Mapping]:
    """A network of the same class with the weights of a folder or of the hub, and what did not fit into it.

    Raises
    ------
    MicroLensError
        The weights cannot be had, or are of another architecture.
    """
    from recbole_microlens.encoders.transformers_spec import family_of

    config = config_at(source, "encoder_weights")
    if config.model_type != network.config.model_type:
        raise MicroLensError(
            f"encoder_weights: {source} holds a '{config.model_type}', the encoder is a "
            f"'{network.config.model_type}'. Use weights of this very architecture, or another `encoder`."
        )
    for key, value in family_of(config).settings.items():
        setattr(config, key, value)
    cls = type(network)

    def load(local: bool):
        return cls.from_pretrained(source, config=config, local_files_only=local, **_options(cls))

    return fetched("encoder_weights", source, load)


def _from_file(network: nn.Module, path: Path, spec: TransformersSpec) -> tuple[State, Mapping]:
    from recbole_microlens.encoders.transformers_spec import grid_of

    published = spec.config()
    old = grid_of(published) if hasattr(published, "image_size") else None
    state = _fitted(_file_state(path), network, old)
    cls = type(network)
    with (
        _quiet(),
        explained(f"encoder_weights: cannot load {path}", "Use weights of this very architecture."),
    ):
        donor, report = cls.from_pretrained(
            None,
            config=deepcopy(network.config),
            state_dict=state,
            **_options(cls),
        )
    return donor.state_dict(), report


def _options(cls: type[nn.Module]) -> dict:
    """What does not fit is reported, for :func:`_check`; no file is unpickled."""
    from recbole_microlens.encoders.transformers_spec import model_options

    reported = {"ignore_mismatched_sizes": True, "output_loading_info": True}
    return model_options(cls) | reported | {"weights_only": True}


def _file_state(path: Path) -> State:
    if path.suffix != ".safetensors":
        return dict(read_state(path))
    from safetensors.torch import load_file

    with explained(f"encoder_weights: {path} is no safetensors file", "Use an intact checkpoint."):
        return load_file(path)


def _fitted(state: State, network: nn.Module, old: Grid | None) -> State:
    """The state with every table of positions as long as the network's."""
    from recbole_microlens.encoders.transformers_spec import grid_of

    own = network.state_dict()
    for key, table in state.items():
        name = next((name for name in own if key.endswith(name) and name.endswith(_POSITIONS)), None)
        if old and name and table.dim() in (2, 3) and table.shape[:-2] == own[name].shape[:-2]:
            state[key] = _fitted_table(table, own[name].shape[-2], old, grid_of(network.config))
    return state


def _fitted_table(table: Tensor, wanted: int, old: Grid, new: Grid) -> Tensor:
    """A table over time, over space, or over both, whichever its length and the wanted one say."""
    length = table.shape[-2]
    if length == wanted:
        return table
    for axes in ((True, True), (False, True), (True, False)):
        before = tuple(n if axis else 1 for n, axis in zip(old, (axes[0], axes[1], axes[1]), strict=True))
        after = tuple(n if axis else 1 for n, axis in zip(new, (axes[0], axes[1], axes[1]), strict=True))
        n_class = length - before[0] * before[1] * before[2]
        if n_class >= 0 and n_class == wanted - after[0] * after[1] * after[2] and n_class <= 8:
            return interpolate_positions(table, before, after)
    return table


def _check(state: State, report: Mapping, network: nn.Module, spec: TransformersSpec, source: str) -> None:
    own, parts = network.state_dict(), {name for name, _ in network.named_children()}
    mismatched = {key: shapes for key, *shapes in report["mismatched_keys"]}
    faults = [f"missing {key} {list(own[key].shape)}" for key in sorted(report["missing_keys"]) if key in own]
    faults = [fault for fault in faults if fault.split()[1] not in (*mismatched, *spec.unused)]
    for key in sorted(report["unexpected_keys"]):
        of_head = _is_needless(key, spec, parts)
        faults += [] if of_head else [f"unexpected {key}"]
    faults += [
        f"{key} is {list(found)}, the network has {list(own[key].shape)}"
        for key, (found, *_) in mismatched.items()
    ]
    require_fit(faults + wrong_shapes(state, own), source)


def _is_needless(key: str, spec: TransformersSpec, parts: set[str]) -> bool:
    """A key of a head, of a decoder, or of what only the training of the weights used."""
    if key.startswith(spec.family.ignored):
        return True
    return key.startswith(spec.ignored) if spec.ignored else key.split(".")[0] not in parts


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's reports of every load out of the log: what matters in them is an error here."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
