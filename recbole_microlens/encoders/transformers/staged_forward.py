"""A network of ``transformers`` run in parts: embeddings, each block, and what is above the last one."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.staged_forward import Features, modules_of
from recbole_microlens.encoders.transformers import shared_beginning
from recbole_microlens.encoders.transformers.calls import part
from recbole_microlens.encoders.transformers.families import Family
from recbole_microlens.errors import MicroLensError

Stages = tuple[tuple[str, ...], ...]


class TransformerStages:
    """Stage 0 is what comes before the blocks, stage i the i-th block; see
    :class:`~recbole_microlens.encoders.staged_forward.StagedForward`.

    Text: the input is tokens [N, 2, L], padded on either side; what a stage returns is the tokens' states
    [N, L, d] and their mask [N, L], so that the part above needs no tokens. Pixels: a stage returns the
    tokens' states, or maps.

    Parameters
    ----------
    name : str
        Of the encoder, for messages.
    network : nn.Module
    family : Family
        How its modules are called.
    stages : tuple of tuple of str
        Names of the modules of each stage; several blocks may be one stage.
    is_text : bool
    shared_tokens : int
        How many tokens at the beginning may be the same in all texts: where they are, a decoder runs them
        once for all of them.

    Raises
    ------
    MicroLensError
        The stages cut the network elsewhere than before one of its blocks.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        family: Family,
        stages: Stages,
        is_text: bool,
        shared_tokens: int = 0,
    ):
        self.network, self.family, self.is_text = network, family, is_text
        self.shared_tokens = shared_tokens
        self.stages = modules_of(network, stages)
        self.blocks: Any = [block for each in family.block_lists for block in part(network, each)]
        self._starts = _first_blocks(name, family, stages)

    def __call__(self, features: Any, first: int, last: int) -> Features:
        if first == last:
            return features
        if not self.is_text:
            return self._run(features, None, first, last)
        states, mask = features if first else _from_first_token(features)
        return [self._run(states, mask.long(), first, last), mask]

    def _run(self, states: Tensor, mask: Tensor | None, first: int, last: int) -> Tensor:
        if first == 0:
            states = self.family.embed(self.network, self.family.before, states, mask)
        states = self._through_blocks(states, mask, self._starts[first], self._starts[last])
        if last == len(self.stages):
            states = self.family.finish(self.network, self.family.after, states)
        return states

    def _through_blocks(self, states: Tensor, mask: Tensor | None, first: int, last: int) -> Tensor:
        if first == last:
            return states
        context = self.family.context(self.network, self.blocks, states, mask)
        if self._shares_beginning(states, mask, first, last):
            return shared_beginning.through_blocks(
                self.blocks[first:last],
                states,
                context[first:last],
                self.shared_tokens,
                self.family.keys_and_values,
            )
        for number in range(first, last):
            before, found = states, self.family.run(self.blocks[number], states, context[number])
            states = found[0] if isinstance(found, tuple) else found
            if self.family.after_block:
                states = self.family.after_block(self.network, number, before, states, mask)
        return states

    def _shares_beginning(self, states: Tensor, mask: Tensor | None, first: int, last: int) -> bool:
        if not self.shared_tokens or mask is None:
            return False
        return shared_beginning.can_share(self.network, self.family) and shared_beginning.is_shared(
            states, mask, self.shared_tokens, self.blocks[first:last]
        )


def _first_blocks(name: str, family: Family, stages: Stages) -> list[int]:
    """For each stage the number of blocks below it; at the end the number of all blocks."""
    prefixes = tuple(f"{each}." for each in family.block_lists)
    for names in stages[1:]:
        if not names[0].startswith(prefixes):
            raise MicroLensError(
                f"finetune_stages: '{name}' cannot be cut at '{names[0]}', only before one of its layers "
                f"({family.blocks}.0, ...). Set a number of stages, or `finetune` to full or frozen."
            )
    return [0, *accumulate(sum(name.startswith(prefixes) for name in names) for names in stages)]


def _from_first_token(content: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [N, 2, L] -> ids and mask [N, L] with the padding behind each title, wherever it was.

    A token's position counts from the title's first.
    """
    places = torch.arange(content.shape[2], device=content.device)
    first = content[:, 1].long().argmax(1, keepdim=True)  # [N, 1]; 0 where padding follows or nothing is real
    turned = ((places + first) % content.shape[2]).unsqueeze(1).expand_as(content)
    ids, mask = content.gather(2, turned).unbind(1)
    return ids.long(), with_one_real_token(mask)


def with_one_real_token(mask: Tensor) -> Tensor:
    """The mask with position 0 set: a title of nothing but padding would give NaN."""
    mask = mask.clone()
    mask[:, 0] = 1
    return mask
