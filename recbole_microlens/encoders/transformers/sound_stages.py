"""A network of sound of ``transformers`` run in parts, and its own forward on the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.sound.front_end import FrontEnd, is_real
from recbole_microlens.encoders.sound.windows import MeanOfWindows
from recbole_microlens.encoders.staged_forward import Features
from recbole_microlens.encoders.transformers.audio_families import AudioFamily
from recbole_microlens.encoders.transformers.calls import Network
from recbole_microlens.encoders.transformers.staged_forward import (
    Stages,
    TransformerStages,
    with_one_real_token,
)


class SoundStages(TransformerStages):
    """Stage 0 is what comes before the blocks, stage i the i-th block; see :class:`TransformerStages`.

    The input is a list of what the front end gives [B, ...] and how many steps of it are sound [B]; what a
    stage returns is the states [B, T, d] and which of them are sound [B, T].

    Parameters
    ----------
    name, network, family, stages
        As :class:`TransformerStages` takes them.
    attends_by_mask : bool
        The network is told which states are sound.
    """

    def __init__(
        self, name: str, network: nn.Module, family: AudioFamily, stages: Stages, attends_by_mask: bool
    ):
        super().__init__(name, network, family, stages, is_text=False)
        self.steps, self.attends_by_mask = family.steps, attends_by_mask

    def __call__(self, features: Any, first: int, last: int) -> Features:
        if first == last:
            return features
        states, real = features
        if first == 0:
            lengths = real
            told = lengths if self.attends_by_mask else None
            states = self.family.embed(self.network, self.family.before, states, told)
            real = is_real(self.steps(self.network, lengths), states.size(1))
        mask = with_one_real_token(real) if self.attends_by_mask else None
        states = self._through_blocks(states, mask, self._starts[first], self._starts[last])
        if last == len(self.stages):
            states = self.family.finish(self.network, self.family.after, states)
        return [states, real]


def own_states(network: Network, family: AudioFamily, content: list[Tensor], attends_by_mask: bool) -> Tensor:
    """The states that the network's own forward gives for what the front end gave."""
    inputs, lengths = content
    given = {network.main_input_name: inputs}
    if attends_by_mask:
        time = inputs.size(1) if inputs.dim() == 2 or family.mask_name == "attention_mask" else inputs.size(2)
        given[family.mask_name] = is_real(lengths, time)
    return family.own_states(network, network(**given))


def noise(front_end: FrontEnd, items: int, seconds: float = 0.4) -> list[Tensor]:
    """What a front end gives for noise; the last item is shorter."""
    generator = torch.Generator().manual_seed(0)
    samples = max(int(seconds * front_end.sample_rate), front_end.least_samples)
    windows = torch.rand(items, samples, generator=generator) - 0.5
    if items > 1:
        windows[-1, samples * 3 // 4 :] = 0
    return front_end(windows)


@dataclass(frozen=True)
class StatePool:
    """The states of windows, with which of them are sound -> features [B, d].

    Attributes
    ----------
    pooling : {'cls', 'mean'}
        The mean of the class tokens; or of all other states that are sound.
    n_class : int
        How many class tokens stand in front.
    """

    pooling: str
    n_class: int

    def __call__(self, features: list[Tensor]) -> Tensor:
        """States [B, T, d] and 1 where they are sound [B, T]; or features [B, d], as they are."""
        states, real = features
        if states.dim() == 2:
            return states
        if self.pooling == "cls":
            return states[:, : self.n_class].mean(1)
        weights = real[:, self.n_class :].to(states.dtype).unsqueeze(2)  # [B, T, 1]
        return (states[:, self.n_class :] * weights).sum(1) / weights.sum(1).clamp(min=1)


def sound_pools(n_class: int) -> dict[str, MeanOfWindows]:
    """The poolings of a network of sound, its own first; where ``n_class`` is 0, there is no ``cls``."""
    names = ("cls", "mean") if n_class else ("mean",)
    return {name: MeanOfWindows(StatePool(name, n_class)) for name in names}
