"""What an encoder gives for all items, written batch by batch: a vector for each item, or for each token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.encoders.adapters.side import SideEncoder
from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.feature_file import written_features
from recbole_microlens.items.token_file import written_tokens


def write_features(
    path: Path, item_ids: list[str], network: Encoder, contents: Iterable[Tensor], about: dict
) -> None:
    """Write the features of items, float32 [items, feature_dim].

    Parameters
    ----------
    path : Path
        The ``.npy`` file; what ``about`` says stands in its ``.json``.
    item_ids : list[str]
        Original ids of the items.
    network : Encoder
        In eval mode.
    contents : Iterable[Tensor]
        Their content, some at a time.
    """
    with written_features(path, item_ids, network.feature_dim, about) as append:
        for content in contents:
            with torch.inference_mode():
                append(network(content).float().cpu().numpy())


def write_tokens(
    path: Path, item_ids: list[str], network: Encoder, contents: Iterable[Tensor], about: dict
) -> None:
    """Write the tokens of items, float16 [items, tokens, feature_dim], and which are real; the parameters
    are those of :func:`write_features`.

    Raises
    ------
    MicroLensError
        They are too large for float16.
    """
    blocks = _tokens(network, contents)
    first = next(blocks)
    with written_tokens(path, item_ids, first[1].shape[1:], about) as append:
        for block in chain([first], blocks):
            append(*block)


def require_tokens(network: Encoder, modality: str) -> None:
    """Raise a :class:`MicroLensError` if an encoder as it is used here has no tokens to give."""
    if modality == "video":
        raise MicroLensError(
            f"--tokens: {network.spec.name} looks at videos here; tokens are of titles and images. Choose an "
            "encoder of one of these."
        )
    if isinstance(network, SideEncoder):
        raise MicroLensError(
            f"--tokens: the side network of this run gives one vector for an item, not one for each token of "
            f"{network.spec.name}. Choose another run, or an encoder."
        )
    if network.options.output != "pooled":
        raise MicroLensError(
            f"--output: {network.options.output} is one vector for an item, --tokens asks for one for each "
            "token. Remove one of them."
        )


def _tokens(network: Encoder, contents: Iterable[Tensor]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for content in contents:
        with torch.inference_mode():
            found, real = network.tokens(content)
        halves = found.half()
        if not torch.isfinite(halves).all():
            raise MicroLensError(
                f"--tokens: {network.spec.name} gives numbers that float16 cannot hold. Choose another one."
            )
        yield real.cpu().numpy(), halves.cpu().numpy()
