"""A folder of a kind that cannot be used says what it is, and which kinds work; nothing in it is run."""

import json

import pytest

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder, encoder_spec
from recbole_microlens.errors import MicroLensError

USABLE = "Usable are models of text, pictures, videos or sound"
BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
# Files of a folder, and what is said of it.
FOLDERS = {
    "adapter": ({"adapter_config.json": {}, "adapter_model.safetensors": None}, "adapter .peft. alone"),
    "diffusers": ({"model_index.json": {}}, "a pipeline of diffusers"),
    "gguf": ({"model-q4.gguf": None}, "weights in GGUF"),
    "nothing": ({}, "holds no config.json"),
    "no json": ({"config.json": None}, "config.json is no JSON"),
    "no type": ({"config.json": {"hidden_size": 16}}, "names no architecture"),
    "timm": ({"config.json": {"architecture": "vit_tiny"}}, "--encoder=timm:vit_tiny builds that"),
    "code": (
        {"config.json": {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}},
        "code of its own .auto_map in its config.json, architecture 'own'., and code .* never run",
    ),
    "quantised": (
        {"config.json": {**BERT, "quantization_config": {"quant_method": "gptq", "bits": 4}}},
        "weights quantised by gptq; quantised weights are not supported",
    ),
    "encoder-decoder": ({"config.json": {"model_type": "bart"}}, "no model that runs its encoder alone"),
    "generates": ({"config.json": {"model_type": "trocr"}}, "which only generates"),
}


def folder_of(files, folder):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text("{" if content is None else json.dumps(content))
    return str(folder)


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_of_another_kind_says_what_it_is(kind, tmp_path):
    files, message = FOLDERS[kind]
    with pytest.raises(MicroLensError, match=message) as caught:
        encoder_spec(folder_of(files, tmp_path / "folder"))
    assert USABLE in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "message"),
    [("tf_model.h5", "TensorFlow alone"), ("model.onnx", "ONNX graph alone"), (None, "holds no weights")],
)
def test_weights_of_another_kind_are_named_and_random_ones_still_work(file, message, tmp_path):
    files = {"config.json": {**BERT, "vocab_size": 50, "intermediate_size": 32}}
    folder = folder_of(files | ({file: None} if file else {}), tmp_path / "folder")
    with pytest.raises(MicroLensError, match=message):
        create_encoder(folder, EncoderOptions(weights="pretrained"))
    assert create_encoder(folder, EncoderOptions(weights="none")).feature_dim == 16


def test_a_tower_that_the_table_does_not_know_is_not_taken_for_text(tmp_path):
    folder = folder_of({"config.json": {"model_type": "glm4v_vision"}}, tmp_path / "folder")
    with pytest.raises(MicroLensError, match=r"takes 'hidden_states', of which the table of families says"):
        encoder_spec(folder)


def test_without_timm_pe_video_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_microlens.encoders.transformers.kinds.find_spec", lambda name: None)
    folder = folder_of({"config.json": {"model_type": "pe_video_encoder"}}, tmp_path / "folder")
    with pytest.raises(MicroLensError, match=r"pip install 'recbole-microlens\[timm\]'"):
        encoder_spec(folder)
