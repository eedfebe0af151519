"""Every entry of sound of ``transformers``: its network at full size without memory, and its front end."""

import pytest
import torch

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.listing import on_meta
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.encoders.transformers.audio_entries import AUDIO_TRANSFORMERS
from recbole_microlens.encoders.transformers.audio_families import front_end_of

# Millions of parameters, from the papers, without decoders, heads and the tower of texts.
MILLIONS = {
    "ast": 86, "wav2vec2_base": 94, "hubert_base": 94, "wavlm_base": 94, "whisper_tiny": 8, "clap_htsat": 28,
}  # fmt: skip


@pytest.fixture(params=[spec.name for spec in AUDIO_TRANSFORMERS])
def name(request):
    return request.param


def test_stages_are_those_of_the_family_at_the_published_size(name):
    spec = ENCODERS[name]
    encoder = on_meta(name, EncoderOptions(), "audio").eval()
    assert encoder.spec.stages == spec.family.stages(encoder.network)
    assert round(sum(p.numel() for p in encoder.network.parameters()) / 1e6) == MILLIONS[name]
    content = torch.ones(2, 1, spec.sample_rate, dtype=torch.int16, device="meta")
    with torch.no_grad():
        assert encoder(content).shape == (2, spec.feature_dim)


def test_front_end_is_the_one_that_the_network_takes(name):
    spec = ENCODERS[name]
    own = front_end_of(spec.family, spec.config(), {}, name)()
    front_end = spec.front_end()
    assert (type(front_end), front_end.sample_rate) == (type(own), spec.sample_rate)
    assert (front_end.least_samples, front_end.most_samples) == (own.least_samples, own.most_samples)
