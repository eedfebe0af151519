"""What a cached trunk output depends on: equal fingerprints, equal rows."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import torch

from recbole_microlens.encoders.encoder import Encoder, hash_tensors

# Raise it when the same inputs give other rows, or the files another layout.
CACHE_VERSION = 1
_READ_AT_ONCE = 1024


def cache_parts(encoder: Encoder, reader, tokens: np.ndarray, dtype: str) -> dict[str, str | int]:
    """Everything that the rows depend on, by name.

    Parameters
    ----------
    encoder : Encoder
        Its frozen part is what the rows come from.
    reader : Reader
        Where the items' content comes from. A reader of a media store counts by the store's identity and by
        the reader's own settings, any other by all that it reads.
    tokens : np.ndarray
        Original item id of each internal id, [n_items].
    dtype : str
        What the rows are stored in.
    """
    return {
        "cache version": CACHE_VERSION,
        **encoder.fingerprint(encoder.trainable_stages),
        "items": _hash_tokens(tokens),
        "dtype": dtype,
        **_content_parts(reader, len(tokens)),
    }


def digest(parts: dict[str, str | int]) -> str:
    """Sixteen hexadecimal digits that stand for the parts of a fingerprint."""
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


def _hash_content(reader, n_items: int) -> str:
    batches = torch.arange(1, n_items).split(_READ_AT_ONCE)
    return hash_tensors((str(batch[0].item()), reader.read(batch)) for batch in batches)


def _hash_tokens(tokens: np.ndarray) -> str:
    return hashlib.sha256(json.dumps([str(token) for token in tokens]).encode()).hexdigest()
