"""Every family of sound of ``transformers``: run in parts at any block, it is the library's own forward."""

import pytest
import torch
from audio_configs import AUDIO_SETTINGS, audio_config, random_network

from recbole_microlens.encoders.transformers.audio_families import AUDIO_FAMILIES, audio_family, front_end_of
from recbole_microlens.encoders.transformers.config import config_of, model_class
from recbole_microlens.encoders.transformers.families import FAMILIES
from recbole_microlens.encoders.transformers.sound_stages import SoundStages, noise, own_states
from recbole_microlens.errors import MicroLensError

CASES = [
    pytest.param((name, *case), id=f"{name}-{number}")
    for name in AUDIO_FAMILIES
    for number, case in enumerate(AUDIO_SETTINGS[name])
]


class Case:
    def __init__(self, name, settings, given):
        config = audio_config(name, settings)
        self.network = random_network(config)
        self.family = audio_family(config)
        front_end = front_end_of(self.family, config, given, "it")()
        self.attends = front_end.attends_by_mask
        self.content = noise(front_end, items=2)
        stages = self.family.stages(self.network)
        self.run = SoundStages("it", self.network, self.family, stages, self.attends)
        self.stages = stages

    def own(self):
        return own_states(self.network, self.family, self.content, self.attends)

    def parts(self, cut):
        states, _ = self.run(self.run(self.content, 0, cut), cut, len(self.stages))
        return states


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return Case(*request.param)


def test_parts_at_every_cut_are_the_librarys_own_forward(case):
    case.network.eval()
    with torch.no_grad():
        expected = case.own()
        assert expected.std() > 1e-3
        for cut in range(len(case.stages) + 1):
            torch.testing.assert_close(case.parts(cut), expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_librarys_own_forward(case):
    network = case.network.eval()

    def gradients(states):
        network.zero_grad()
        states.square().sum().backward()
        return {key: p.grad.clone() for key, p in network.named_parameters() if p.grad is not None}

    expected, found = gradients(case.own()), gradients(case.parts(2))
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        scale = gradient.abs().max().item() if gradient.numel() else 0
        torch.testing.assert_close(found[key], gradient, atol=1e-4 * scale + 1e-6, rtol=1e-3)


def test_exactly_the_parameters_with_a_gradient_are_in_a_stage(case):
    case.network.eval().zero_grad()
    case.own().square().sum().backward()
    in_stages = {
        id(parameter)
        for names in case.stages
        for name in names
        for parameter in case.network.get_submodule(name).parameters()
    }
    for name, parameter in case.network.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in in_stages) == parameter.requires_grad, name
    constant = {name for name, p in case.network.named_parameters() if not p.requires_grad}
    assert all(name.startswith((*case.family.constant, "masked_spec_embed")) for name in constant)


def test_sound_alone_is_marked_as_sound(case):
    _, lengths = case.content
    states, real = case.run(case.content, 0, len(case.stages))
    assert real.shape[0] == 2 and (states.dim() == 2 or real.shape[1] == states.shape[1])
    assert real[0].sum() >= real[1].sum() > 0
    silent = [case.content[0], torch.zeros_like(lengths)]
    with torch.no_grad():
        states, real = case.run(silent, 0, len(case.stages))
    assert states.isfinite().all() and not real.any()


def test_no_architecture_is_in_two_tables():
    assert not set(AUDIO_FAMILIES) & set(FAMILIES)


def test_of_whisper_the_encoder_alone_is_built_and_of_clap_the_tower_of_sound():
    assert model_class(config_of("whisper")).__name__ == "WhisperEncoder"
    assert model_class(config_of("clap_audio_model")).__name__ == "ClapAudioModel"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"feature_extractor_type": "EncodecFeatureExtractor"},
            "is 'EncodecFeatureExtractor'. Known are: AST",
        ),
        ({"dither": 0.1}, "adds noise"),
        ({"num_mel_bins": "many"}, "cannot be made of its settings"),
    ],
)
def test_a_feature_extractor_that_cannot_be_used_is_named(given, message):
    config = config_of("audio-spectrogram-transformer")
    with pytest.raises(MicroLensError, match=message):
        front_end_of(audio_family(config), config, given, "folder")
