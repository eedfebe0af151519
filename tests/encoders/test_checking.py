"""``encoders --check`` says what an encoder is and costs, or why it cannot be used."""

import json

import pytest

from recbole_microlens.cli import main
from recbole_microlens.encoders.checking import check_encoder

LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def folder(save_model):
    from transformers import ViTConfig

    return save_model(ViTConfig(**LAYERS, image_size=32, patch_size=16))


def test_what_is_said_of_a_folder_is_counted_from_it(folder):
    checked = check_encoder(folder, size=32)
    assert (checked.network, checked.looks_at) == ("ViTModel", ("image", "video"))
    assert checked.stages == ("embeddings", "layers.0", "layers.1")
    assert (checked.feature_dim, checked.poolings, checked.can_be_cut) == (16, ("cls", "mean"), True)
    embeddings = 16 * (3 * 16 * 16) + 16 + 16 + 5 * 16
    block = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 4 * 16
    assert checked.parameters == embeddings + 2 * block + 2 * 16
    assert checked.weight_bytes == 4 * checked.parameters
    assert [part.parameters for part in checked.trained] == [
        block + 32,
        2 * block + 32,
        checked.parameters,
    ]
    kept = [part.bytes_an_item for part in checked.trained]
    assert 5 * 16 * 4 < kept[0] < kept[1] < kept[2] < 200_000
    assert all(part.seconds_an_item > 0 for part in checked.trained)


def test_the_command_prints_how_the_folder_is_used(folder, capsys):
    assert main(["encoders", "--check", folder, "--frame-size", "32"]) == 0
    said = capsys.readouterr().out
    assert f"suffix I, M, IDI, IDM (image): --encoder={folder}" in said
    assert f"suffix V, M, IDV, IDM (video, frame by frame): --encoder={folder}" in said
    assert "finetune     frozen, top or full" in said


def test_as_json_it_is_what_the_function_returns(folder, capsys):
    assert main(["encoders", "--check", folder, "--frame-size", "32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["feature_dim"] == 16


def test_what_cannot_be_used_is_one_message_and_code_2(tmp_path, capsys):
    assert main(["encoders", "--check", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "holds no config.json" in captured.err
    assert captured.err.count("\n") == 1
