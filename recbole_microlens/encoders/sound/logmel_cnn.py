"""A small encoder of sound of our own, which trains from nothing in seconds: log-mel and four convolutions.

Frequencies are channels, so that a pitch stays where it is; a step of the last convolution looks at 1.2
seconds, so that a rhythm down to about one beat a second is seen.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from recbole_microlens.encoders.sound.front_end import FrontEnd, is_real
from recbole_microlens.encoders.sound.mel import hann, mel_filters, power_spectrum
from recbole_microlens.encoders.sound.windows import MeanOfWindows
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.staged_forward import Features
from recbole_microlens.encoders.weights import PublishedWeights

_RATE, _FFT, _HOP, _MELS = 16_000, 1024, 320, 64
_FLOOR = 1e-5
_CHANNELS, _FEATURES, _KERNEL, _BLOCKS = 128, 128, 5, 4


class LogMel(FrontEnd):
    """The logarithm of the energy in 64 bands of mel, 50 times a second, from 0 (silence) to about 2."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__(_RATE, least_samples=_HOP)
        filters = mel_filters(_FFT, _MELS, 0, _RATE / 2, _RATE, "htk")
        self.register_buffer("window", hann(_FFT).float(), persistent=False)
        self.register_buffer("filters", filters.float(), persistent=False)

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, 64, L // 320] and their frames with sound [B]."""
        padded = nn.functional.pad(windows, (0, _FFT - _HOP))
        frames = padded.unfold(1, _FFT, _HOP) * self.window  # [B, T, 1024]
        energies = power_spectrum(frames, _FFT) @ self.filters  # [B, T, 64]
        levels = (1 + energies / _FLOOR).log() / 10
        return levels.mT, (lengths + _HOP - 1) // _HOP


class Block(nn.Module):
    """A convolution over time with a stride of 2, and the norm over the channels of each step."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels_out, _KERNEL, stride=2, padding=_KERNEL // 2)
        self.norm = nn.LayerNorm(channels_out)
        self.activation = nn.GELU()

    def forward(self, states: Tensor) -> Tensor:
        """[B, channels_in, T] -> [B, channels_out, ceil(T / 2)]."""
        return self.activation(self.norm(self.conv(states).mT)).mT


class LogMelCnn(nn.Module):
    """0.29 million parameters; its input is what :class:`LogMel` gives."""

    def __init__(self) -> None:
        super().__init__()
        widths = [_MELS, *[_CHANNELS] * (_BLOCKS - 1), _FEATURES]
        self.blocks = nn.ModuleList(map(Block, widths[:-1], widths[1:]))

    def forward(self, spectra: Tensor) -> Tensor:
        """[B, 64, T] -> [B, 128, ceil(T / 16)]."""
        for block in self.blocks:
            spectra = block(spectra)
        return spectra


def _step(module: nn.Module, features: Features) -> Features:
    states, lengths = features
    return [module(states), lengths]


def _steps(frames: Tensor) -> Tensor:
    return (frames + 2**_BLOCKS - 1) // 2**_BLOCKS


def _mean(features: list[Tensor]) -> Tensor:
    """Mean over the steps [B, d, T] that begin within the sound: [B, d]."""
    states, frames = features
    real = is_real(_steps(frames), states.size(2)).to(states.dtype).unsqueeze(1)
    return (states * real).sum(2) / real.sum(2).clamp(min=1)


def _greatest(features: list[Tensor]) -> Tensor:
    """The greatest value over the steps [B, d, T] that begin within the sound: [B, d]."""
    states, frames = features
    real = is_real(_steps(frames).clamp(min=1), states.size(2)).bool().unsqueeze(1)
    return states.masked_fill(~real, torch.finfo(states.dtype).min).amax(2)


LOGMEL_CNN = EncoderSpec(
    name="logmel_cnn",
    paper_name="",
    modality="audio",
    build=lambda frames, size: LogMelCnn(),
    stages=tuple((f"blocks.{number}",) for number in range(_BLOCKS)),
    feature_dim=_FEATURES,
    mean=(),
    std=(),
    published=PublishedWeights("", "", ""),
    step=lambda network: _step,
    pools={"mean": MeanOfWindows(_mean), "max": MeanOfWindows(_greatest)},
    sample_rate=_RATE,
    front_end=partial(LogMel),
)
