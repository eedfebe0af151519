"""How large an activation cache will be: from the shapes of an encoder alone, without its weights."""

from __future__ import annotations

import torch

from recbole_microlens.activation_cache.row_format import DTYPES, RowFormat
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.listing import content_for_shapes, on_meta
from recbole_microlens.encoders.registry import encoder_spec


@torch.no_grad()
def bytes_an_item(
    name: str, trainable_stages: list[int], dtypes: list[str], frames: int = 5, size: int = 224
) -> dict[tuple[int, str], int]:
    """Bytes of an item's row, by how many stages train and by ``activation_cache_dtype``.

    Parameters
    ----------
    name : str
        Of an encoder of the registry.
    trainable_stages : list[int]
        0 for features of a frozen encoder; those that leave nothing frozen are left out.
    dtypes : list[str]
        Keys of :data:`~recbole_microlens.activation_cache.row_format.DTYPES`.
    frames, size : int
        Frames of a clip, and their height and width.
    """
    encoder = on_meta(name, EncoderOptions(frames, size, trainable_stages=0), encoder_spec(name).modality)
    content = content_for_shapes(encoder.eval(), frames, size)
    found = {}
    for n_top in trainable_stages:
        if n_top >= encoder.n_stages:
            continue
        tensors = encoder.forward_trunk(content, n_top).tensors
        for dtype in dtypes:
            formats = [RowFormat.of(tensor, DTYPES[dtype]) for tensor in tensors]
            found[n_top, dtype] = sum(form.row_bytes for form in formats)
    return found
