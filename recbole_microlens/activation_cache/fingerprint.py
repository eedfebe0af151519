"""What a cached trunk output depends on: equal fingerprints, equal rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.encoders.encoder import Encoder

# Raise it when the same inputs give other rows, or the files another layout.
CACHE_VERSION = 1
_READ_AT_ONCE = 1024
# What transformers writes into a config, or reads from it, beside the architecture.
_NOT_OF_THE_NETWORK = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


def cache_parts(encoder: Encoder, reader, tokens: np.ndarray, dtype: str) -> dict[str, str | int]:
    """Everything that the rows depend on, by name.

    Parameters
    ----------
    encoder : its frozen part is what the rows come from.
    reader : where the items' content comes from. A reader of a media store counts by the store's identity and
        by the reader's own settings, any other by all that it reads.
    tokens : original item id of each internal id, [n_items].
    dtype : what the rows are stored in.
    """
    return {
        "cache version": CACHE_VERSION,
        "encoder": encoder.spec.name,
        "trainable stages": encoder.trainable_stages,
        "cut": repr(encoder.spec.stages),
        "weights": _hash_frozen(encoder),
        "architecture": _hash_config(encoder),
        **{name: getattr(encoder.options, name) for name in ("frames", "size", "output", "pooling")},
        **({"frame pooling": encoder.options.frame_pooling or "mean"} if encoder.frame_pool else {}),
        "items": _hash_tokens(tokens),
        "dtype": dtype,
        **_content_parts(reader, len(tokens)),
    }


def digest(parts: dict[str, str | int]) -> str:
    """Sixteen hexadecimal digits that stand for the parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def differences(parts: dict, others: dict) -> list[str]:
    """Names of the parts in which two fingerprints differ."""
    return [name for name in {**parts, **others} if parts.get(name) != others.get(name)]


def _content_parts(reader, n_items: int) -> dict[str, str | int]:
    store = getattr(reader, "store", None)
    if store is None:
        return {"content": _hash_content(reader, n_items)}
    settings = {name: value for name, value in vars(reader).items() if isinstance(value, int | str)}
    return {"media store": store.meta.identity, **settings}


def _hash_frozen(encoder: Encoder) -> str:
    """SHA-256 of the parameters and buffers that are no part of what trains."""
    first_top = encoder.n_stages - encoder.trainable_stages
    trains = {
        id(tensor)
        for stage in encoder.stages()[first_top:]
        for tensor in (*stage.parameters(), *stage.buffers())
    }
    named = [*encoder.named_parameters(), *encoder.named_buffers()]
    return _hash_tensors(
        (name, tensor)
        for name, tensor in sorted(named, key=lambda pair: pair[0])
        if id(tensor) not in trains and not tensor.requires_grad
    )


def _hash_config(encoder: Encoder) -> str:
    """What a folder's config says of the network that its weights do not show, such as the activation."""
    config = getattr(encoder.network, "config", None)
    if config is None:
        return ""
    said = {key: value for key, value in config.to_dict().items() if key not in _NOT_OF_THE_NETWORK}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _hash_content(reader, n_items: int) -> str:
    batches = torch.arange(1, n_items).split(_READ_AT_ONCE)
    return _hash_tensors((str(batch[0].item()), reader.read(batch)) for batch in batches)


def _hash_tensors(named: Iterable[tuple[str, Tensor]]) -> str:
    result = hashlib.sha256()
    for name, tensor in named:
        plain = tensor.detach().cpu().contiguous()
        result.update(f"{name} {plain.dtype} {tuple(plain.shape)} ".encode())
        result.update(plain.reshape(-1).view(torch.uint8).numpy())
    return result.hexdigest()


def _hash_tokens(tokens: np.ndarray) -> str:
    return hashlib.sha256(json.dumps([str(token) for token in tokens]).encode()).hexdigest()
