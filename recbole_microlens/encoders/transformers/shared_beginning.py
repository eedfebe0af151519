"""A beginning that all texts of a batch have in common, run through the blocks of a decoder once.

A token of a decoder sees those before it alone, so that the states of the words which a template puts before
every title are the same for all items. They go through a block as one text; the other tokens of all texts
attend to its keys and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_ATTENTION = (
    "eager",
    "sdpa",
)  # whose masks are tensors [N, 1, L, L], or None for a causal one without padding


def can_share(network: Any, family: Any) -> bool:
    """Whether all blocks of a network take keys and values of tokens that went before.

    Parameters
    ----------
    network : nn.Module
    family : Family
    """
    kinds = set(getattr(network.config, "layer_types", None) or ())
    return bool(
        family.keys_and_values
        and network.config._attn_implementation in _ATTENTION
        and kinds <= {"full_attention", "sliding_attention"}
    )


def is_shared(states: Tensor, mask: Tensor, n: int, blocks: Sequence[nn.Module]) -> bool:
    """Whether the first ``n`` tokens are real and the same in all texts, and stay so in these blocks.

    Parameters
    ----------
    states : Tensor [N, L, d]
    mask : Tensor [N, L]
    n : int
    blocks : sequence of nn.Module
        A block that draws at random for each text (dropout, in training) makes the states differ.
    """
    if not 0 < n < states.shape[1] or len(states) < 2:
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or any(map(_draws, blocks)):
        return False
    return bool((states[:, :n] == states[:1, :n]).all() and mask[:, :n].all())


def through_blocks(
    blocks: Sequence[nn.Module], states: Tensor, given: list[dict], n: int, name: str
) -> Tensor:
    """States through blocks, the first ``n`` tokens once for all texts.

    Parameters
    ----------
    blocks : sequence of nn.Module
    states : Tensor [N, L, d]
        For which :func:`is_shared` holds.
    given : list of dict
        For each block what it takes beside the states of whole texts.
    n : int
    name : str
        Of the argument by which a block takes keys and values.

    Returns
    -------
    Tensor [N, L, d]
    """
    beginning, rest = states[:1, :n], states[:, n:]
    for block, whole in zip(blocks, given, strict=True):
        kept = {name: _KeysAndValues()}
        beginning = _states(block(beginning, **_columns(whole, states, 0, n), **kept))
        rest = _states(block(rest, **_columns(whole, states, n, states.shape[1]), **kept))
    return torch.cat([beginning.expand(len(rest), -1, -1), rest], dim=1)


class _KeysAndValues:
    """What a block of ``transformers`` takes for its cache, of one block and one beginning: the first call
    keeps keys and values [1, heads, n, d], the second one puts them before those of the rest.
    """

    def __init__(self):
        self._kept: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *_block, **_options) -> tuple[Tensor, Tensor]:
        if self._kept is None:
            self._kept = keys, values
            return keys, values
        before = (kept.expand(len(keys), -1, -1, -1) for kept in self._kept)
        whole_keys, whole_values = (
            torch.cat(pair, dim=2) for pair in zip(before, (keys, values), strict=True)
        )
        return whole_keys, whole_values


def _columns(given: dict, states: Tensor, first: int, last: int) -> dict:
    """What a block takes beside the states, of whole texts -> of the tokens ``first`` .. ``last - 1``."""
    own = dict(given)
    if "position_ids" in own:
        own["position_ids"] = own["position_ids"][..., first:last]
    if "position_embeddings" in own:
        own["position_embeddings"] = tuple(each[..., first:last, :] for each in own["position_embeddings"])
    mask = own["attention_mask"]
    if mask is not None:
        own["attention_mask"] = (mask if first else mask[:1])[..., first:last, :last]
    elif first:  # The library takes no mask for causal, and would count from the wrong corner.
        causal = torch.ones(last - first, last, dtype=torch.bool, device=states.device).tril(first)
        own["attention_mask"] = causal[None, None]
    return own


def _states(found: Any) -> Tensor:
    return found[0] if isinstance(found, tuple) else found


def _draws(block: nn.Module) -> bool:
    """Whether a block drops states or attention at random."""
    return block.training and any(
        isinstance(rate, float) and rate > 0
        for module in block.modules()
        for name, rate in vars(module).items()
        if "drop" in name or (name == "p" and isinstance(module, nn.Dropout))
    )
