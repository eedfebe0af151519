"""Weights of a network of ``transformers``: from the hub, a folder or a file, fitted to its grid."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from copy import deepcopy
from functools import cache
from logging import getLogger
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from recbole_microlens.encoders.position_interpolation import Grid, interpolate_positions
from recbole_microlens.encoders.transformers.calls import Network
from recbole_microlens.encoders.transformers.config import (
    config_at,
    family_of,
    fetched,
    grid_of,
    model_options,
    quiet,
)
from recbole_microlens.encoders.transformers.kinds import require_plain_weights
from recbole_microlens.encoders.weights import read_file, require_fit, wrong_shapes
from recbole_microlens.errors import MicroLensError, explained

State = dict[str, Tensor]

_POSITIONS = ("position_embeddings", "position_embedding.weight", "pos_embed", "time_embeddings")
_HUB_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


def load_transformer(
    network: Network,
    source: str,
    published,
    ignored: tuple[str, ...] = (),
    ignores_other_parts: bool = True,
    unused: Collection[str] = (),
) -> None:
    """Load weights into a network, in place. Tables of positions of another length are interpolated.

    Parameters
    ----------
    network : nn.Module
    source : str
        A hub id, a folder as ``from_pretrained`` takes it, or a checkpoint file (``.safetensors``, or what
        ``torch.load(weights_only=True)`` reads).
    published : PretrainedConfig
        The architecture that a checkpoint file holds.
    ignored : tuple of str
        Prefixes of keys of heads, of a decoder, or of what only the training of the weights used.
    ignores_other_parts : bool
        Ignore the keys of all parts that the network does not have.
    unused : collection of str
        Parameters of the network that may be missing.

    Raises
    ------
    MicroLensError
        The weights cannot be had; a key or a shape does not match.
    """
    from_file = Path(source).is_file()
    state, report = (
        _from_file(network, Path(source), grid_of(published)) if from_file else _from_folder(network, source)
    )
    parts = {name for name, _ in network.named_children()}

    def is_needless(key: str) -> bool:
        other_part = ignores_other_parts and key.split(".")[0] not in parts
        return key.startswith(ignored) or other_part

    report = {**report, "unexpected_keys": [k for k in report["unexpected_keys"] if not is_needless(k)]}
    _check(state, report, network, unused, source)
    network.load_state_dict(state)


def is_cached(source: str) -> bool:
    """Whether the hub's cache has a config and weights of a hub id."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config, *weights = (try_to_load_from_cache(source, name) for name in ("config.json", *_HUB_FILES))
    except HFValidationError:  # no hub id: loading it says so
        return False
    return isinstance(config, str) and any(isinstance(path, str) for path in weights)


def donor_of(network: Network, source: str) -> tuple[nn.Module, Mapping]:
    """A network of the same class with the weights of a folder or of the hub, and what did not fit into it.

    Raises
    ------
    MicroLensError
        The weights cannot be had, or are of another architecture.
    """
    require_plain_weights(source)
    own = network.config.model_type
    config, text = (config_at(source, "encoder_weights", modality) for modality in (None, "text"))
    config = text if text.model_type == own else config
    if config.model_type != own:
        raise MicroLensError(
            f"encoder_weights: {source} holds a '{config.model_type}', the encoder is a "
            f"'{own}'. Use weights of the same architecture, or another `encoder`."
        )
    for key, value in family_of(config).settings.items():
        setattr(config, key, value)
    cls: Any = type(network)

    def load(local: bool, **key_mapping):
        options = {"config": config, "local_files_only": local, **key_mapping, **_options(cls)}
        donor, report = cls.from_pretrained(source, **options)
        prefix = _prefix_of_tower(report)
        if not prefix or key_mapping:
            return donor, report
        return load(local, key_mapping={f"^{re.escape(prefix)}": ""})

    return fetched("encoder_weights", source, load)


def _prefix_of_tower(report: Mapping) -> str:
    """What the names of a checkpoint of several towers have in front of those of this one; empty if nothing
    that is missing is there by a longer name.
    """
    missing, others = sorted(report["missing_keys"]), set(report["unexpected_keys"])
    if not missing:
        return ""
    prefixes = {key.removesuffix(missing[0]) for key in others if key.endswith(f".{missing[0]}")}
    found = {prefix: sum(prefix + key in others for key in missing) for prefix in prefixes}
    return max(sorted(found), key=lambda prefix: found[prefix], default="")


def _from_folder(network: Network, source: str) -> tuple[State, Mapping]:
    donor, report = donor_of(network, source)
    return _fitted(donor.state_dict(), network, grid_of(donor.config)), report


def _from_file(network: Network, path: Path, old: Grid | None) -> tuple[State, Mapping]:
    state = _fitted(read_file(path), network, old)
    cls: Any = type(network)
    with (
        quiet(),
        explained(f"encoder_weights: cannot load {path}", "Use weights of the same architecture."),
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
    reported = {"ignore_mismatched_sizes": True, "output_loading_info": True}
    return model_options(cls) | reported | {"weights_only": True}


def _fitted(state: State, network: Network, old: Grid | None) -> State:
    """The state with every table of positions as long as the network's."""
    own, new, fitted = network.state_dict(), grid_of(network.config), False
    for key, table in state.items():
        name = next((name for name in own if key.endswith(name) and name.endswith(_POSITIONS)), None)
        if old and new and name and table.dim() in (2, 3) and table.shape[:-2] == own[name].shape[:-2]:
            state[key] = _fitted_table(table, own[name].shape[-2], old, new)
            fitted |= state[key] is not table
    if fitted and old and new:
        _say_interpolated(str(network.config.model_type), old, new)
    return state


@cache
def _say_interpolated(model_type: str, old: Grid, new: Grid) -> None:
    getLogger().info(
        "encoder_weights: positions of the %s are interpolated from %s patches (time x height x width) to "
        "%s, those of `num_frames` and `frame_size`.",
        model_type, " x ".join(map(str, old)), " x ".join(map(str, new)),
    )  # fmt: skip


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


def _check(state: State, report: Mapping, network: Network, unused: Collection[str], source: str) -> None:
    own = network.state_dict()
    mismatched = {key: shapes for key, *shapes in report["mismatched_keys"]}
    faults = [
        f"missing {key} {list(own[key].shape)}"
        for key in sorted(report["missing_keys"])
        if key in own and key not in (*mismatched, *unused)
    ]
    faults += [f"unexpected {key}" for key in sorted(report["unexpected_keys"])]
    faults += [
        f"{key} is {list(found)}, the network has {list(own[key].shape)}"
        for key, (found, *_) in mismatched.items()
    ]
    require_fit(faults + wrong_shapes(state, own), source)
