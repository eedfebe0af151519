"""The small encoder of sound: what it hears, silence, windows, and that it learns to tell sounds apart."""

import math

import pytest
import torch

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.errors import MicroLensError

RATE = 16_000


def tones(hertz, seconds=1.0, loudness=8000):
    times = torch.arange(int(seconds * RATE)) / RATE
    return (loudness * torch.sin(2 * math.pi * hertz * times)).to(torch.int16)


def beats(a_second, seconds=2.0, start=0.0):
    """Clicks of noise, all of the same kind: only how often they come differs."""
    generator = torch.Generator().manual_seed(int(1000 * start))
    samples = torch.zeros(int(seconds * RATE))
    begin = start
    while begin < seconds - 0.05:
        at = int(begin * RATE)
        samples[at : at + 400] = 6000 * torch.randn(400, generator=generator)
        begin += 1 / a_second
    return samples.clamp(-32000, 32000).to(torch.int16)


def encoder_of(**options):
    torch.manual_seed(0)
    return create_encoder("logmel_cnn", EncoderOptions(**options))


def test_spectrum_shows_the_pitch_and_grows_with_loudness():
    encoder = encoder_of()
    content = torch.stack([tones(440), tones(2000), tones(2000, loudness=80)]).unsqueeze(1)
    spectra, lengths = encoder.prepare(content)
    assert spectra.shape == (3, 1, 64, 50) and lengths.tolist() == [[50]] * 3
    bands = spectra[:, 0, :, 10].argmax(1)
    edges = torch.linspace(0, 2595 * math.log10(1 + 8000 / 700), 66)
    for band, hertz in zip(bands.tolist(), (440, 2000, 2000), strict=True):
        assert edges[band] < 2595 * math.log10(1 + hertz / 700) < edges[band + 2]
    difference = spectra[1, 0, bands[1], 10] - spectra[2, 0, bands[1], 10]
    assert difference.item() == pytest.approx(2 * math.log(100) / 10, abs=0.01)


def test_sound_becomes_numbers_from_minus_one_to_one():
    content = torch.tensor([[[-32768, 16384, 1]]], dtype=torch.int16).expand(1, 1, 3)
    seen = []
    encoder = encoder_of()
    encoder.front_end.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    encoder.prepare(content)
    assert seen[0].tolist() == [[-1.0, 0.5, 1 / 32768]]


def test_features_are_the_mean_over_the_windows_with_sound():
    encoder = encoder_of().eval()
    windows = torch.stack([tones(440), tones(2000), torch.zeros(RATE, dtype=torch.int16)])
    with torch.no_grad():
        each = encoder(windows.unsqueeze(1))
        torch.testing.assert_close(encoder(windows.unsqueeze(0))[0], each[:2].mean(0))
        assert not each[2].any()


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_padding_at_the_end_changes_the_features_less_than_another_pitch(pooling):
    encoder = encoder_of(pooling=pooling).eval()
    sound, other = tones(440, 2.56), tones(800, 2.56)
    padded = torch.cat([sound, torch.zeros(RATE, dtype=torch.int16)])
    with torch.no_grad():
        features, changed = (encoder(samples.view(1, 1, -1)) for samples in (sound, padded))
        distance = (encoder(other.view(1, 1, -1)) - features).norm()
    assert (changed - features).norm() < 0.25 * distance


@pytest.mark.parametrize("samples", [0, 1, 319, 16_000])
def test_silence_and_no_sound_at_all_are_finite(samples):
    encoder = encoder_of().train()
    content = torch.zeros(2, 2, samples, dtype=torch.int16)
    if samples:
        content[1, 0, 0] = 1
    features = encoder(content)
    features.sum().backward()
    assert features.shape == (2, 128) and features.isfinite().all() and not features[0].any()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("make", ["tones", "beats"])
def test_a_few_steps_of_training_tell_sounds_apart(make):
    generator = torch.Generator().manual_seed(3)

    def draw(count):
        labels = torch.arange(count) % 3
        unit = torch.rand(count, generator=generator).tolist()
        if make == "tones":
            sounds = [
                tones((300, 600, 1200)[c] * (1 + 0.2 * u), 0.6) for c, u in zip(labels, unit, strict=True)
            ]
        else:
            sounds = [beats((1.5, 3, 6)[c], 2.0, 0.3 * u) for c, u in zip(labels, unit, strict=True)]
        return torch.stack(sounds).unsqueeze(1), labels

    encoder = encoder_of().train()
    torch.manual_seed(0)
    head = torch.nn.Linear(128, 3)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3)
    content, labels = draw(48)
    spectra = encoder.forward_trunk(content, encoder.n_stages)
    for step in range(24):
        rows = slice(24 * (step % 2), 24 * (step % 2) + 24)
        features = encoder.forward_top(spectra[rows], encoder.n_stages)
        loss = torch.nn.functional.cross_entropy(head(features), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    content, labels = draw(30)
    with torch.no_grad():
        right = (head(encoder.eval()(content)).argmax(1) == labels).float().mean()
    assert right >= 0.9


def test_the_fingerprint_covers_the_front_end():
    encoder, same, other = encoder_of(), encoder_of(), encoder_of()
    assert encoder.fingerprint(1) == same.fingerprint(1)
    other.front_end.filters[3, 3] += 1
    assert encoder.fingerprint(1)["weights"] != other.fingerprint(1)["weights"]
    assert "sample_rate=16000" in encoder.fingerprint(1)["front end"]


def test_it_is_listed_with_its_rate_and_has_no_published_weights():
    spec = encoder_spec("logmel_cnn", "audio")
    assert (spec.modality, spec.sample_rate) == ("audio", 16_000)
    with pytest.raises(MicroLensError, match="nobody published weights"):
        create_encoder("logmel_cnn", EncoderOptions(weights="pretrained"))
    with pytest.raises(MicroLensError, match="nobody published weights"):
        spec.require_weights("pretrained", 5, 224)
