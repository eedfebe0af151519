"""What the feature extractors of ``transformers`` do to sound, in torch and on the device, by their settings.

Each class takes the settings of the extractor of ``transformers`` that it stands for, under their names and
with their defaults. Spectra are computed in float64, as there.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from recbole_microlens.encoders.sound.front_end import FrontEnd, is_real
from recbole_microlens.encoders.sound.mel import hann, mel_filters, power_spectrum

_KALDI_FRAME, _KALDI_HOP, _KALDI_FFT = 400, 160, 512  # 25 and 10 ms at 16 kHz
_KALDI_FLOOR = 1.192092955078125e-07
_PREEMPHASIS = 0.97
_VARIANCE = 1e-7
_WHISPER_HIGH = 8000.0  # Hz
_FLOOR = 1e-10


class Waveform(FrontEnd):
    """The samples themselves, with a mean of 0 and a variance of 1: Wav2Vec2, HuBERT, WavLM.

    Source: ``Wav2Vec2FeatureExtractor``. The statistics are those of the sound, without the padding.

    Parameters
    ----------
    sampling_rate, do_normalize, return_attention_mask
        See there.
    least_samples : int
        What the convolutions of the network need for one step.
    """

    def __init__(
        self,
        sampling_rate: int = 16_000,
        do_normalize: bool = True,
        return_attention_mask: bool = False,
        least_samples: int = 400,
    ):
        super().__init__(sampling_rate, least_samples)
        self.do_normalize, self.attends_by_mask = do_normalize, return_attention_mask

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, L] and their samples of sound [B]."""
        if not self.do_normalize:
            return windows, lengths
        real = is_real(lengths, windows.size(1))
        count = lengths.clamp(min=1).unsqueeze(1)
        centred = (windows - windows.double().sum(1, keepdim=True) / count) * real
        variance = centred.square().sum(1, keepdim=True) / count
        return (centred / (variance + _VARIANCE).sqrt()).to(windows.dtype), lengths


class Fbank(FrontEnd):
    """The logarithm of the energy in bands of mel, as Kaldi computes it: 25 ms, every 10 ms.

    Parameters
    ----------
    sampling_rate, num_mel_bins : int
    window : Tensor [400]
    scale : float
        Of the samples: 1, or 32768, which is Kaldi's own.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sampling_rate: int, num_mel_bins: int, window: Tensor, scale: float, **limits):
        super().__init__(sampling_rate, _KALDI_FRAME, **limits)
        self.num_mel_bins, self.scale = num_mel_bins, scale
        filters = mel_filters(_KALDI_FFT, num_mel_bins, 20, sampling_rate // 2, sampling_rate, "kaldi")
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def spectra(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, T, mel], float64, and their frames that lie within the sound [B]."""
        frames = (windows.double() * self.scale).unfold(1, _KALDI_FRAME, _KALDI_HOP)  # [B, T, 400]
        frames = frames - frames.mean(2, keepdim=True)
        before = torch.cat([frames[:, :, :1], frames[:, :, :-1]], dim=2)
        energies = power_spectrum((frames - _PREEMPHASIS * before) * self.window, _KALDI_FFT) @ self.filters
        counts = ((lengths - _KALDI_FRAME) // _KALDI_HOP + 1).clamp(min=1) * (lengths > 0)
        return energies.clamp(min=_KALDI_FLOOR).log(), counts


class AstFbank(Fbank):
    """Of the Audio Spectrogram Transformer: 1,024 frames, normalised by the statistics of AudioSet.

    Source: ``ASTFeatureExtractor``, with torchaudio and without it the same.
    """

    def __init__(
        self,
        sampling_rate: int = 16_000,
        num_mel_bins: int = 128,
        max_length: int = 1024,
        do_normalize: bool = True,
        mean: float = -4.2677393,
        std: float = 4.5689974,
    ):
        samples = _KALDI_FRAME + _KALDI_HOP * (max_length - 1)
        window = hann(_KALDI_FRAME, periodic=False)
        super().__init__(sampling_rate, num_mel_bins, window, 1.0, most_samples=samples)
        self.max_length, self.do_normalize, self.mean, self.std = max_length, do_normalize, mean, std

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, max_length, mel] and their frames of sound [B]."""
        windows = pad(windows, (0, (self.most_samples or 0) - windows.size(1)))
        spectra, counts = self.spectra(windows, lengths)
        spectra = spectra * is_real(counts, self.max_length).unsqueeze(2)
        if self.do_normalize:
            spectra = (spectra - self.mean) / (2 * self.std)
        return spectra.float(), counts


class StackedFbank(Fbank):
    """Of Wav2Vec2-BERT: each band with a mean of 0 and a variance of 1 over the sound, two frames a step.

    Source: ``SeamlessM4TFeatureExtractor``.
    """

    attends_by_mask = True

    def __init__(
        self,
        sampling_rate: int = 16_000,
        num_mel_bins: int = 80,
        padding_value: float = 0.0,
        stride: int = 2,
    ):
        super().__init__(sampling_rate, num_mel_bins, hann(_KALDI_FRAME, periodic=False, power=0.85), 2.0**15)
        self.padding_value, self.stride = padding_value, stride

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, ceil(T / stride), stride mel] and their steps of sound [B]."""
        spectra, counts = self.spectra(windows, lengths)
        real = is_real(counts, spectra.size(1)).unsqueeze(2)  # [B, T, 1]
        n_frames = counts.clamp(min=1).view(-1, 1, 1)
        centred = (spectra - (spectra * real).sum(1, keepdim=True) / n_frames) * real
        variance = centred.square().sum(1, keepdim=True) / (n_frames - 1).clamp(min=1)
        normalised = centred / (variance + _VARIANCE).sqrt() + self.padding_value * (1 - real)
        missing = -spectra.size(1) % self.stride
        steps = pad(normalised, (0, 0, 0, missing), value=self.padding_value).unflatten(1, (-1, self.stride))
        # A step counts if its last frame does, but the only one always does.
        within = (counts // self.stride).clamp(min=1) * (lengths > 0)
        return steps.flatten(2).float(), within


class CentredMel(FrontEnd):
    """Spectra whose frames are centred: the sound is reflected at its ends.

    Parameters
    ----------
    sampling_rate, n_fft, hop_length, samples : int
        ``samples`` is the length that windows are padded to.
    filters : Tensor [n_fft // 2 + 1, mel]
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sampling_rate: int, n_fft: int, hop_length: int, samples: int, filters: Tensor):
        super().__init__(sampling_rate, most_samples=samples)
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", hann(n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def energies(self, windows: Tensor) -> Tensor:
        """Windows [B, L] -> [B, 1 + L // hop_length, mel], float64."""
        half = self.n_fft // 2
        around = pad(windows.double().unsqueeze(1), (half, half), mode="reflect").squeeze(1)
        return power_spectrum(around.unfold(1, self.n_fft, self.hop_length) * self.window, self.n_fft) @ (
            self.filters
        )


class WhisperMel(CentredMel):
    """Of Whisper: 30 seconds, the logarithm of the energy down to 80 dB below the greatest.

    Source: ``WhisperFeatureExtractor``. The network is told nothing of the padding; only what it says of the
    sound is pooled.
    """

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16_000,
        hop_length: int = 160,
        chunk_length: float = 30,
        n_fft: int = 400,
    ):
        filters = mel_filters(n_fft, feature_size, 0, _WHISPER_HIGH, sampling_rate, "slaney", True)
        super().__init__(sampling_rate, n_fft, hop_length, round(chunk_length * sampling_rate), filters)
        self.feature_size, self.chunk_length = feature_size, chunk_length

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, mel, frames of chunk_length] and their frames of sound [B]."""
        windows = pad(windows, (0, (self.most_samples or 0) - windows.size(1)))
        levels = self.energies(windows)[:, :-1].clamp(min=_FLOOR).log10()  # [B, T, mel]
        levels = torch.maximum(levels, levels.amax((1, 2), keepdim=True) - 8)
        return ((levels + 4) / 4).mT.float(), (lengths + self.hop_length - 1) // self.hop_length


class ClapMel(CentredMel):
    """Of CLAP: 10 seconds, energies in dB; a shorter sound is repeated as often as it fits.

    Source: ``ClapFeatureExtractor``. Its ``fusion`` of four spectra and its random choice of ten seconds are
    left out: of longer windows the beginning is taken, so that a sound has one spectrum.

    Parameters
    ----------
    truncation : {'fusion', 'rand_trunc'}
        Which filters: with ``fusion`` HTK's, otherwise Slaney's.
    padding : {'repeatpad', 'repeat', 'pad'}
        Repeated as often as it fits, repeated and cut, or once; then zeros.
    """

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 48_000,
        hop_length: int = 480,
        max_length_s: float = 10,
        fft_window_size: int = 1024,
        frequency_min: float = 0,
        frequency_max: float = 14_000,
        truncation: str = "fusion",
        padding: str = "repeatpad",
    ):
        is_htk = truncation == "fusion"
        filters = mel_filters(
            fft_window_size, feature_size, frequency_min, frequency_max, sampling_rate,
            "htk" if is_htk else "slaney", not is_htk,
        )  # fmt: skip
        samples = round(max_length_s * sampling_rate)
        super().__init__(sampling_rate, fft_window_size, hop_length, samples, filters)
        self.feature_size, self.truncation, self.padding = feature_size, truncation, padding

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, 1, T, mel], and 1 where there is sound [B]."""
        levels = 10 * self.energies(self._filled(windows, lengths)).clamp(min=_FLOOR).log10()
        return levels.float().unsqueeze(1), (lengths > 0).long()

    def _filled(self, windows: Tensor, lengths: Tensor) -> Tensor:
        total = self.most_samples or 0
        windows = pad(windows, (0, total - windows.size(1)))
        if self.padding == "pad":
            return windows
        count = lengths.clamp(min=1).unsqueeze(1)
        places = torch.arange(total, device=windows.device).unsqueeze(0)  # [1, total]
        repeated = windows.gather(1, places % count)
        within = total if self.padding == "repeat" else total // count * count
        return torch.where(places < within, repeated, 0)


class ReflectedWaveform(FrontEnd):
    """The samples themselves, reflected at the end up to a whole number of steps: PE-Audio.

    Source: ``PeAudioFeatureExtractor``.
    """

    attends_by_mask = True

    def __init__(self, sampling_rate: int = 48_000, hop_length: int = 1920):
        super().__init__(sampling_rate)
        self.hop_length = hop_length

    def inputs(self, windows: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Windows [B, L] -> [B, 1, steps hop_length] and their samples of sound, with the reflected ones."""
        windows = pad(windows, (0, -windows.size(1) % self.hop_length))
        ends = -(-lengths // self.hop_length) * self.hop_length
        places = torch.arange(windows.size(1), device=windows.device).unsqueeze(0)
        count = lengths.clamp(min=1).unsqueeze(1)
        period = (2 * (count - 1)).clamp(min=1)
        turned = places % period
        mirrored = windows.gather(1, torch.where(turned < count, turned, period - turned))
        filled = torch.where(places < ends.unsqueeze(1), mirrored, 0)
        return filled.unsqueeze(1), ends


FRONT_ENDS: dict[str, type[FrontEnd]] = {
    "ASTFeatureExtractor": AstFbank,
    "ClapFeatureExtractor": ClapMel,
    "PeAudioFeatureExtractor": ReflectedWaveform,
    "SeamlessM4TFeatureExtractor": StackedFbank,
    "Wav2Vec2FeatureExtractor": Waveform,
    "WhisperFeatureExtractor": WhisperMel,
}
