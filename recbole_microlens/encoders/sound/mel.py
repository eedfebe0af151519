"""Spectra of sound: windows of the Fourier transform, and filters on a mel scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SLANEY_LINEAR = 1000.0  # Hz up to which Slaney's scale is linear, with 15 mel there
_SLANEY_STEP = math.log(6.4) / 27


def hertz_to_mel(hertz: Tensor, scale: str) -> Tensor:
    """Frequencies in Hz on a mel scale.

    Parameters
    ----------
    hertz : Tensor
    scale : {'htk', 'kaldi', 'slaney'}
        2595 log10(1 + f / 700), 1127 ln(1 + f / 700), or linear below 1 kHz and logarithmic above.
    """
    if scale == "htk":
        return 2595 * torch.log10(1 + hertz / 700)
    if scale == "kaldi":
        return 1127 * torch.log(1 + hertz / 700)
    above = 15 + torch.log(hertz.clamp(min=_SLANEY_LINEAR) / _SLANEY_LINEAR) / _SLANEY_STEP
    return torch.where(hertz < _SLANEY_LINEAR, 3 * hertz / 200, above)


def mel_to_hertz(mel: Tensor, scale: str) -> Tensor:
    """The inverse of :func:`hertz_to_mel`."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    if scale == "kaldi":
        return 700 * (torch.exp(mel / 1127) - 1)
    above = _SLANEY_LINEAR * torch.exp(_SLANEY_STEP * (mel - 15))
    return torch.where(mel < 15, 200 * mel / 3, above)


def mel_filters(
    n_fft: int, n_mels: int, low: float, high: float, sample_rate: int, scale: str, normalised: bool = False
) -> Tensor:
    """Triangular filters with centres at equal distances on a mel scale.

    Parameters
    ----------
    n_fft : int
        Length of the Fourier transform, which gives ``n_fft // 2 + 1`` frequencies.
    n_mels : int
        How many filters.
    low, high : float
        Where the first begins and the last one ends, in Hz.
    sample_rate : int
        In Hz.
    scale : {'htk', 'kaldi', 'slaney'}
        The filters of ``kaldi`` are triangles on the mel scale, the others in Hz.
    normalised : bool
        Divide each filter by half its width in Hz, so that all have the same area.

    Returns
    -------
    Tensor [n_fft // 2 + 1, n_mels], float64
    """
    on_cpu: dict = {"dtype": torch.float64, "device": "cpu"}  # also where a network is built without memory
    ends = hertz_to_mel(torch.tensor([low, high], **on_cpu), scale)
    edges = torch.linspace(float(ends[0]), float(ends[1]), n_mels + 2, **on_cpu)
    bins = torch.arange(n_fft // 2 + 1, **on_cpu) * sample_rate / n_fft
    if scale == "kaldi":
        bins = hertz_to_mel(bins, scale)
    else:
        edges = mel_to_hertz(edges, scale)
    rising = (bins[:, None] - edges[:-2]) / edges.diff()[:-1]
    falling = (edges[2:] - bins[:, None]) / edges.diff()[1:]
    filters = torch.minimum(rising, falling).clamp(min=0)  # [frequencies, mels]
    if normalised:
        filters = filters * (2 / (edges[2:] - edges[:-2]))
    return torch.tensor(filters.numpy())


def hann(length: int, periodic: bool = True, power: float = 1.0) -> Tensor:
    """The Hann window, float64 [length]; Povey's is its power 0.85, not periodic."""
    return torch.hann_window(length, periodic=periodic, dtype=torch.float64) ** power


def power_spectrum(frames: Tensor, n_fft: int) -> Tensor:
    """Energy at each frequency of windowed frames [..., length]: [..., n_fft // 2 + 1]."""
    spectrum = torch.fft.rfft(frames, n=n_fft)
    return spectrum.real.square() + spectrum.imag.square()
