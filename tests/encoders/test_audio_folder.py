"""Networks of sound in a folder: what they are, their front end, every cut, weights, silence, the cache."""

import json

import pytest
import torch
from audio_configs import AUDIO_SETTINGS, audio_config
from specs import sound_of

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.encoders.transformers.folder import folder_spec
from recbole_microlens.errors import MicroLensError

# Of each architecture: the name of its layers, poolings, features, stages.
KINDS = {
    "audio-spectrogram-transformer": ("layers", ["cls", "mean"], 16, 4),
    "wav2vec2": ("encoder.layers", ["mean"], 16, 4),
    "hubert": ("encoder.layers", ["mean"], 16, 4),
    "wavlm": ("encoder.layers", ["mean"], 16, 4),
    "wav2vec2-bert": ("encoder.layers", ["mean"], 16, 4),
    "whisper": ("layers", ["mean"], 16, 4),
    "clap_audio_model": ("audio_encoder.layers", ["mean"], 32, 4),
    "pe_audio_encoder": ("layers", ["cls", "mean"], 16, 4),
}
# Of each kind, test_audio_families.py runs every cut, too.
QUICK = ("audio-spectrogram-transformer", "whisper")


def save(folder, kind):
    from recbole_microlens.encoders.transformers.config import model_class

    settings, given = AUDIO_SETTINGS[kind][0]
    config = audio_config(kind, settings)
    torch.manual_seed(1)
    model_class(config)(config).save_pretrained(folder)
    if given:
        (folder / "preprocessor_config.json").write_text(json.dumps(given))
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    return {kind: save(root / kind, kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def make(folder, **options):
    torch.manual_seed(0)
    return create_encoder(folder, EncoderOptions(5, 32, **options))


def test_spec_says_what_the_model_is(kind, folders):
    spec = encoder_spec(folders[kind], "audio")
    layers, pools, features, stages = KINDS[kind]
    assert (spec.modality, spec.family.blocks, list(spec.pools)) == ("audio", layers, pools)
    assert (spec.feature_dim, len(spec.stages)) == (features, stages)
    assert spec.sample_rate == (48_000 if kind == "clap_audio_model" else 16_000)


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in KINDS]
)
def test_every_cut_is_exact_and_trains_the_stated_stages(kind, folders):
    n_stages = KINDS[kind][-1]
    for stages in range(n_stages + 1):
        encoder = make(folders[kind], weights="pretrained", trainable_stages=stages).train()
        content = sound_of(encoder.spec, seconds=0.3)
        features = encoder(content)
        assert features.shape == (2, encoder.feature_dim)
        if stages:
            features.square().sum().backward()
        in_stages = [{id(p) for p in stage.parameters()} for stage in encoder.stages()[n_stages - stages :]]
        expected = set().union(*in_stages)
        found = {id(p) for p in encoder.parameters() if p.grad is not None}
        trains = {id(p) for part in encoder.stages() for p in part.parameters() if p.requires_grad}
        assert found == expected == trains
        encoder.eval()
        with torch.no_grad():
            whole = encoder(content)
            output = encoder.forward_trunk(content, stages)
            assert len(output) == 2 and all(len(tensor) == 2 for tensor in output.tensors)
            torch.testing.assert_close(encoder.forward_top(output, stages), whole, atol=1e-5, rtol=0)
            halves = torch.cat([encoder.forward_top(output[n : n + 1], stages) for n in (0, 1)])
            torch.testing.assert_close(halves, whole, atol=1e-4, rtol=1e-4)


def test_a_step_of_training_changes_the_trained_part_alone(kind, folders):
    encoder = make(folders[kind], weights="pretrained", trainable_stages=1).train()
    before = {name: tensor.clone() for name, tensor in encoder.network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], lr=0.1)
    encoder(sound_of(encoder.spec, seconds=0.3)).square().sum().backward()
    optimiser.step()
    top = tuple(f"{name}." for name in encoder.spec.stages[-1])
    moved = {name for name, t in encoder.network.state_dict().items() if not torch.equal(t, before[name])}
    assert moved and all(name.startswith(top) for name in moved)


@pytest.mark.parametrize("samples", [0, 500, 8000])
def test_silence_is_finite_in_features_and_gradients(kind, folders, samples):
    encoder = make(folders[kind], weights="pretrained").train()
    content = torch.zeros(2, 2, samples, dtype=torch.int16)
    if samples:
        content[1, 0, :300] = 1000
    features = encoder(content)
    features.square().sum().backward()
    assert features.isfinite().all() and not features[0].any()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


def test_features_are_the_mean_over_the_windows_and_the_same_in_any_batch(kind, folders):
    encoder = make(folders[kind], weights="pretrained").eval()
    content = sound_of(encoder.spec, seconds=0.3)
    with torch.no_grad():
        features = encoder(content)
        each = torch.stack([encoder(content[:, number : number + 1]) for number in (0, 1)])
        torch.testing.assert_close(features, each.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder(content), features, atol=0, rtol=0)
    assert (features[0] - features[1]).abs().max() > 1e-6


def test_weights_of_a_whole_model_load_into_its_tower_of_sound(tmp_path):
    from transformers import ClapConfig, ClapModel, PeAudioConfig, PeAudioModel, WhisperModel

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text |= {"vocab_size": 60, "pad_token_id": 0}
    clap, codec = (AUDIO_SETTINGS[name][0][0] for name in ("clap_audio_model", "pe_audio_encoder"))
    cases = (
        (ClapModel(ClapConfig(text_config=text, audio_config=clap)), "audio_model"),
        (PeAudioModel(PeAudioConfig(text_config=text, audio_config=codec)), "audio_encoder"),
        (WhisperModel(audio_config("whisper", AUDIO_SETTINGS["whisper"][0][0])), "encoder"),
    )
    for model, tower in cases:
        folder = tmp_path / tower
        model.save_pretrained(folder)
        if tower == "audio_model":
            given = AUDIO_SETTINGS["clap_audio_model"][0][1]
            (folder / "preprocessor_config.json").write_text(json.dumps(given))
        encoder = make(str(folder), weights="pretrained")
        expected = model.get_submodule(tower).state_dict()
        assert encoder.network.state_dict().keys() == expected.keys()
        for name, tensor in encoder.network.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], atol=0, rtol=0)


def test_of_a_clap_with_fusion_the_spectrum_of_the_whole_is_taken(tmp_path):
    from transformers import ClapAudioModel

    settings = AUDIO_SETTINGS["clap_audio_model"][0][0]
    config = audio_config("clap_audio_model", settings | {"enable_fusion": True, "fusion_type": "aff_2d"})
    model = ClapAudioModel(config).eval()
    model.save_pretrained(tmp_path)
    given = {"feature_size": 16, "max_length_s": 1, "truncation": "fusion"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(given))
    encoder = make(str(tmp_path), weights="pretrained").eval()
    content = sound_of(encoder.spec, windows=1, seconds=0.5)
    inputs = encoder.prepare(content)[0][:, 0]
    with torch.no_grad():
        fused = model(input_features=inputs.repeat(1, 4, 1, 1), is_longer=torch.zeros(2, 1, dtype=torch.bool))
        torch.testing.assert_close(encoder(content), fused.pooler_output, atol=1e-5, rtol=1e-5)


def test_a_cached_trunk_depends_on_the_front_end(folders, tmp_path):
    kind = "audio-spectrogram-transformer"
    encoder = make(folders[kind], weights="pretrained", trainable_stages=1)
    assert "mean=-4.2677393" in encoder.fingerprint(1)["front end"]
    other = save(tmp_path / "other", kind)
    given = {"num_mel_bins": 32, "max_length": 48, "mean": -4.0}
    (tmp_path / "other" / "preprocessor_config.json").write_text(json.dumps(given))
    assert make(other).fingerprint(1)["front end"] != encoder.fingerprint(1)["front end"]


def test_the_processor_says_what_stands_before_the_network(tmp_path):
    folder = save(tmp_path / "wav2vec2", "wav2vec2")
    path = tmp_path / "wav2vec2" / "processor_config.json"
    given = {"do_normalize": False, "return_attention_mask": True}
    path.write_text(json.dumps({"feature_extractor": given}))
    encoder = make(folder)
    assert (encoder.front_end.do_normalize, encoder.front_end.attends_by_mask) == (False, True)
    assert encoder.front_end.least_samples == 10 + 5 * (2 + 2 * 1)  # a step of three convolutions
    folder_spec.cache_clear()
    path.write_text("[1")
    with pytest.raises(MicroLensError, match=r"cannot read .*processor_config.json"):
        encoder_spec(folder)


def test_other_networks_of_sound_name_the_known_ones(tmp_path):
    from transformers import EncodecConfig

    EncodecConfig().save_pretrained(tmp_path)
    with pytest.raises(MicroLensError, match="takes sound.*'encodec' is not in the table.*hubert"):
        encoder_spec(str(tmp_path))
