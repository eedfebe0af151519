"""What the modules of a decoder language model are called with: functions of the table of families.

A token sees those before it; titles are padded behind their last token, so that positions count from 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recbole_microlens.encoders.transformers.calls import Masks, Network, called_in_order, part

_WITHOUT_CACHE = {"past_key_values": None}


def causal(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """A token sees those before it, in some blocks only the nearest ones."""
    rotation = part(network, "rotary_emb")

    def rotated(positions: Tensor, kind: str) -> dict:
        return {} if rotation is None else {"position_embeddings": rotation(states, positions)}

    return _context(network, blocks, states, mask, rotated)


def causal_by_kind(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """Gemma 3, OLMo 3: blocks that see a window rotate positions in another way than those that see all."""

    def rotated(positions: Tensor, kind: str) -> dict:
        return {"position_embeddings": network.rotary_emb(states, positions, kind)}

    return _context(network, blocks, states, mask, rotated)


def causal_on_three_axes(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """Qwen-VL rotates by time, height and width; a text's tokens have the same position on all three."""

    def rotated(positions: Tensor, kind: str) -> dict:
        return {"position_embeddings": network.rotary_emb(states, positions.expand(3, 1, -1))}

    return _context(network, blocks, states, mask, rotated)


def causal_mask_alone(network: Network, blocks: Network, states: Tensor, mask: Tensor) -> list[dict]:
    """CLIP's text tower, whose blocks know of no positions."""
    from transformers.masking_utils import create_causal_mask

    given = {"config": network.config, "inputs_embeds": states, "attention_mask": mask}
    causal_mask = create_causal_mask(**given, **_WITHOUT_CACHE)
    return [{"attention_mask": causal_mask, "is_causal": True}] * len(blocks)


def multiplied(network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor) -> Tensor:
    """Granite multiplies the embeddings by a number of its config."""
    return called_in_order(network, names, content) * network.embedding_multiplier


def tokens_and_positions_of_mask(
    network: Network, names: tuple[str, ...], content: Tensor, mask: Tensor
) -> Tensor:
    """OPT counts the positions of real tokens alone; smaller embeddings are projected to the states."""
    tokens, positions = (network.get_submodule(name) for name in names[:2])
    places = mask.cumsum(1) * mask - 1
    states = called_in_order(network, names[2:], tokens(content))
    return states + positions(mask, 0, position_ids=places.long())


def _context(
    network: Network,
    blocks: Network,
    states: Tensor,
    mask: Tensor,
    rotated: Callable[[Tensor, str], dict],
) -> list[dict]:
    from transformers import masking_utils as library

    config = network.config
    positions = torch.arange(states.size(1), device=states.device).unsqueeze(0)
    one_kind = "sliding_attention" if getattr(config, "sliding_window", None) else "full_attention"
    kinds = getattr(config, "layer_types", None) or [one_kind] * len(blocks)
    creators = {
        "full_attention": library.create_causal_mask,
        "sliding_attention": library.create_sliding_window_causal_mask,
        "conv": library.create_recurrent_attention_mask,
        "linear_attention": library.create_recurrent_attention_mask,
    }
    given = {"config": config, "inputs_embeds": states, "attention_mask": mask, "position_ids": positions}
    masks: Masks = {kind: creators[kind](**given, **_WITHOUT_CACHE) for kind in set(kinds)}
    shared: dict[str, Any] = {"position_ids": positions, "use_cache": False}
    by_kind = {kind: shared | {"attention_mask": masks[kind]} | rotated(positions, kind) for kind in masks}
    return [by_kind[kind] for kind in kinds]
