"""What stands before networks of sound is what the feature extractors of ``transformers`` give, to 1e-4."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from recbole_microlens.encoders.sound.front_end import heard_samples
from recbole_microlens.encoders.sound.front_ends import FRONT_ENDS
from recbole_microlens.encoders.sound.mel import mel_filters

# Extractor: its settings; samples of the sounds, the last the longest; what a call of the extractor takes.
CASES = {
    "raw": ("Wav2Vec2FeatureExtractor", {}, (4000, 7777, 16_000), {}),
    "raw as it is": ("Wav2Vec2FeatureExtractor", {"do_normalize": False}, (4000, 16_000), {}),
    "ast": ("ASTFeatureExtractor", {"max_length": 120, "num_mel_bins": 64}, (4000, 7777, 19_440), {}),
    "ast, no norm": ("ASTFeatureExtractor", {"max_length": 60, "do_normalize": False}, (4000, 9840), {}),
    "stacked": ("SeamlessM4TFeatureExtractor", {}, (4000, 7777, 16_000), {}),
    "stacked, padded with 1": ("SeamlessM4TFeatureExtractor", {"padding_value": 1.0}, (4160, 16_000), {}),
    "whisper": ("WhisperFeatureExtractor", {"chunk_length": 2}, (4000, 7777, 32_000), {}),
    "whisper of 128": ("WhisperFeatureExtractor", {"chunk_length": 1, "feature_size": 128}, (9999,), {}),
    "clap": ("ClapFeatureExtractor", {"max_length_s": 1, "truncation": "rand_trunc"}, (7000, 48_000), {}),
    "clap, repeated": (
        "ClapFeatureExtractor",
        {"max_length_s": 1, "truncation": "rand_trunc", "padding": "repeat", "frequency_min": 50},
        (7000, 30_000, 48_000), {},
    ),
    "clap, padded": ("ClapFeatureExtractor", {"max_length_s": 1, "padding": "pad"}, (7000,), {}),
    "clap of fusion": ("ClapFeatureExtractor", {"max_length_s": 1}, (7000, 48_000), {}),
    "pe": ("PeAudioFeatureExtractor", {}, (1000, 5000, 9600), {}),
}  # fmt: skip


def sound_of(samples, rate=16_000):
    """A chord, a slide, noise and a pause, in int16."""
    generator = np.random.default_rng(samples)
    times = np.arange(samples) / rate
    sound = 0.3 * np.sin(2 * np.pi * 440 * times) + 0.2 * np.sin(2 * np.pi * (200 + 900 * times) * times)
    sound += 0.05 * generator.standard_normal(samples)
    sound[samples // 3 : samples // 3 + 200] = 0
    return (np.clip(sound, -1, 0.9999) * 32767).astype(np.int16)


@pytest.mark.parametrize("name", CASES)
def test_input_is_that_of_the_librarys_feature_extractor(name):
    import transformers

    extractor_name, settings, lengths, options = CASES[name]
    extractor = getattr(transformers, extractor_name)(**settings)
    front_end = FRONT_ENDS[extractor_name](**settings)
    rate = extractor.sampling_rate
    assert front_end.sample_rate == rate
    sounds = [sound_of(count, rate) for count in lengths]
    padded = np.stack([np.pad(sound, (0, max(lengths) - len(sound))) for sound in sounds])
    found, steps = front_end(torch.from_numpy(padded).float() / 32768)
    for number, sound in enumerate(sounds):
        given = extractor(
            sound.astype(np.float32) / 32768, sampling_rate=rate, return_tensors="np", **options
        )
        (key,) = {"input_values", "input_features"} & set(given)
        expected = torch.from_numpy(np.asarray(given[key][0], dtype=np.float32))
        if extractor_name == "ClapFeatureExtractor":  # the four spectra of fusion are the same one
            torch.testing.assert_close(found[number].expand_as(expected), expected, atol=1e-4, rtol=0)
            continue
        time = 0 if expected.dim() == 1 or extractor_name[:3] in ("AST", "Sea") else expected.dim() - 1
        part = found[number].narrow(time, 0, min(expected.size(time), found[number].size(time)))
        if extractor_name.startswith("Seamless"):  # its last step may be padding by half
            expected, part = (tensor[: int(steps[number])] for tensor in (expected, part))
        torch.testing.assert_close(part, expected, atol=1e-4, rtol=0)


def test_steps_of_sound_are_those_of_the_librarys_attention_mask():
    from transformers import PeAudioFeatureExtractor, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

    for extractor, key in (
        (Wav2Vec2FeatureExtractor(return_attention_mask=True), "attention_mask"),
        (SeamlessM4TFeatureExtractor(), "attention_mask"),
        (PeAudioFeatureExtractor(), "padding_mask"),
    ):
        rate = extractor.sampling_rate
        sounds = [sound_of(count, rate).astype(np.float32) / 32768 for count in (4000, 4160, 7777, 16_000)]
        given = extractor(sounds, sampling_rate=rate, padding=True, return_tensors="np")
        padded = torch.stack(
            [torch.nn.functional.pad(torch.from_numpy(s), (0, 16_000 - len(s))) for s in sounds]
        )
        options = {"return_attention_mask": True} if rate == 16_000 and key == "attention_mask" else {}
        cls = FRONT_ENDS[type(extractor).__name__]
        inputs, steps = (cls(**options) if cls.__name__ == "Waveform" else cls())(padded)
        assert steps.tolist() == given[key].sum(-1).tolist()
        name = next(iter({"input_values", "input_features"} & set(given)))
        expected = torch.from_numpy(np.asarray(given[name]))
        assert inputs.shape == expected.shape
        torch.testing.assert_close(inputs, expected.float(), atol=1e-4, rtol=0)


def test_bands_of_mel_are_kaldis_as_torchaudio_writes_them():
    """``torchaudio.compliance.kaldi.get_mel_banks``, band by band: the other definition of AST's input."""
    mels, rate, n_fft = 40, 16_000, 512
    expected = torch.zeros(n_fft // 2 + 1, mels, dtype=torch.float64)
    low, high = (1127 * math.log(1 + hertz / 700) for hertz in (20, rate / 2))
    width = (high - low) / (mels + 1)
    for band in range(mels):
        left, centre, right = (low + (band + number) * width for number in (0, 1, 2))
        for place in range(n_fft // 2):  # torchaudio sets the last frequency to zero
            mel = 1127 * math.log(1 + rate / n_fft * place / 700)
            expected[place, band] = max(
                0, min((mel - left) / (centre - left), (right - mel) / (right - centre))
            )
    torch.testing.assert_close(mel_filters(n_fft, mels, 20, rate // 2, rate, "kaldi"), expected)


def test_ast_is_kaldis_definition_frame_by_frame():
    """``torchaudio.compliance.kaldi.fbank`` with a Hann window, written out for one frame."""
    sound = torch.from_numpy(sound_of(4000)).double() / 32768
    frame = sound[320:720] - sound[320:720].mean()
    frame = torch.stack([frame[n] - 0.97 * frame[max(n - 1, 0)] for n in range(400)])
    frame *= torch.tensor([0.5 - 0.5 * math.cos(2 * math.pi * n / 399) for n in range(400)])
    energy = torch.fft.rfft(torch.nn.functional.pad(frame, (0, 112))).abs() ** 2
    expected = (energy @ mel_filters(512, 128, 20, 8000, 16_000, "kaldi")).clamp(min=2**-23).log()
    front_end = FRONT_ENDS["ASTFeatureExtractor"](max_length=20, do_normalize=False)
    found, _ = front_end(sound.float().unsqueeze(0))
    torch.testing.assert_close(found[0, 2], expected.float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("samples", [0, 1, 5000])
def test_silence_and_single_samples_give_finite_input(name, samples):
    short = {"chunk_length": 1} if name.startswith("Whisper") else {}
    short |= {"max_length_s": 1} if name.startswith("Clap") else {}
    front_end = FRONT_ENDS[name](**short)
    windows = torch.zeros(2, samples)
    if samples:
        windows[1, 0] = 0.5
    inputs, steps = front_end(windows)
    assert inputs.isfinite().all()
    assert steps[0] == 0 and (steps[1] > 0) == bool(samples)


def test_a_window_ends_with_its_last_sound():
    windows = torch.tensor([[0.0, 0.1, 0.0, -0.2, 0.0], [0.0] * 5, [0.0, 0, 0, 0, 1]])
    assert heard_samples(windows).tolist() == [4, 0, 5]


def test_of_longer_windows_the_beginning_is_taken_and_that_is_said_once(caplog):
    front_end = FRONT_ENDS["WhisperFeatureExtractor"](chunk_length=1)
    sound = torch.from_numpy(sound_of(24_000)).float().unsqueeze(0) / 32768
    longer, _ = front_end(sound)
    torch.testing.assert_close(longer, front_end(sound[:, :16_000])[0])
    front_end(sound)
    assert caplog.text.count("of windows of 1.50 s the network takes the first 1.00 s") == 1


def test_many_windows_are_computed_as_one(monkeypatch):
    from recbole_microlens.encoders.sound import front_end as module

    windows = torch.stack([torch.from_numpy(sound_of(2000 + n)[:2000]).float() / 32768 for n in range(5)])
    make = partial(FRONT_ENDS["SeamlessM4TFeatureExtractor"])
    whole = make()(windows)
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    for found, expected in zip(make()(windows), whole, strict=True):
        torch.testing.assert_close(found, expected)
