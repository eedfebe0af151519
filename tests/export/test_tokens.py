"""extract --tokens: what real encoders give for each token, and what has none."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from recbole_microlens import cli
from recbole_microlens.config import Config
from recbole_microlens.data.media import create_reader
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.features import extract
from recbole_microlens.items.token_file import open_tokens
from recbole_microlens.release.item_ids import read_item_ids


@pytest.fixture
def quick(settings):
    """Settings of an extraction from ``tiny``."""
    chosen = {"use_gpu": False, "worker": 0, "encode_batch_size": 7, "frame_size": 32, "seed": 3}
    return {"data_path": settings["data_path"], "encoder_weights": "none"} | chosen


def content_of(quick, modality, encoder):
    items = read_item_ids(Path(quick["data_path"]) / "tiny", "tiny")
    config = Config("SASRecV", "tiny", config_dict=quick | {f"{modality}_encoder": encoder})
    reader = create_reader(config, modality, np.array(["[PAD]", *items]))
    return items, reader.read(torch.arange(1, len(items) + 1))


def rebuilt(encoder):
    torch.manual_seed(3)
    return create_encoder(encoder, EncoderOptions(5, 32)).eval()


def test_tokens_of_titles_are_the_last_hidden_states_with_their_mask(quick, tmp_path, tiny_encoders):
    path = extract("tiny", "bert_small", out=tmp_path / "t.npy", settings=quick, progress=False, tokens=True)
    items, content = content_of(quick, "text", "bert_small")
    network = rebuilt("bert_small")
    with torch.no_grad():
        states = network.network(
            input_ids=content[:, 0].long(), attention_mask=content[:, 1].long()
        ).last_hidden_state
    file = open_tokens(path)
    assert file.item_ids == items and file.rows.shape == (20, 30, network.feature_dim)
    real = content[:, 1].numpy() != 0
    np.testing.assert_array_equal(file.real, real)
    np.testing.assert_allclose(file.rows[real], states.numpy()[real], rtol=1e-3, atol=2e-3)
    with torch.no_grad():
        np.testing.assert_allclose(file.rows[:, 0], network(content), rtol=1e-3, atol=2e-3)
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["modality"], about["encoder"]) == ("text", "bert_small")


def test_tokens_of_covers_are_those_of_the_transformer_class_token_first(quick, tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    ViTModel(ViTConfig(image_size=32, patch_size=8, **sizes)).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    given = quick | {"encoder_weights": "pretrained"}
    vit = str(tmp_path / "vit")
    path = extract("tiny", vit, out=tmp_path / "t.npy", settings=given, progress=False, tokens=True)
    _, content = content_of(quick, "image", "resnet18")
    network = create_encoder(vit, EncoderOptions(5, 32, weights="pretrained")).eval()
    with torch.no_grad():
        states = network.network(pixel_values=network.prepare(content)).last_hidden_state
    file = open_tokens(path)
    assert file.rows.shape == (20, 17, 16) and np.asarray(file.real).all()
    np.testing.assert_allclose(file.rows, states, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("encoder", "places"), [("resnet18", 1), ("efficientnet_lite0", 1), ("bert_bytes", 30)]
)
def test_without_a_class_token_the_pooled_features_stand_first(encoder, places, quick, tmp_path):
    path = extract("tiny", encoder, out=tmp_path / "t.npy", settings=quick, progress=False, tokens=True)
    modality = json.loads(path.with_suffix(".json").read_text())["modality"]
    _, content = content_of(quick, modality, encoder)
    with torch.no_grad():
        pooled = rebuilt(encoder)(content).numpy()
    file = open_tokens(path)
    assert file.rows.shape == (20, 1 + places, pooled.shape[1])
    np.testing.assert_allclose(file.rows[:, 0], pooled, rtol=1e-3, atol=2e-3)
    real = np.asarray(file.real)[:, 1:, None]
    means = (file.rows[:, 1:].astype(np.float32) * real).sum(1) / real.sum(1)
    np.testing.assert_allclose(means, pooled, rtol=1e-2, atol=5e-3)


def test_places_of_a_map_are_in_the_order_of_rows_whatever_its_memory():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        for name, channels in (("resnet18", 1), ("swin_t", -1)):
            network = create_encoder(name, EncoderOptions(size=64)).eval()
            maps = network.staged_forward(network.prepare(pixels), 0, network.n_stages)
            tokens, real = network.tokens(pixels)
            assert tokens.shape[:2] == real.shape == (2, 5) and real.all()
            torch.testing.assert_close(tokens[:, 2], maps.movedim(channels, -1)[:, 0, 1])
            torch.testing.assert_close(tokens[:, 3], maps.movedim(channels, -1)[:, 1, 0])


@pytest.mark.parametrize(
    ("encoder", "more", "modality", "message"),
    [
        ("x3d_xs", {}, None, "--tokens: x3d_xs looks at videos here; tokens are of titles and images"),
        ("resnet18", {}, "video", "--tokens: resnet18 looks at videos here"),
        ("resnet18", {"encoder_output": "head"}, None, "--output: head is one vector for an item"),
    ],
)
def test_what_has_no_tokens_is_refused(encoder, more, modality, message, quick, tmp_path):
    out = tmp_path / "t.npy"
    with pytest.raises(MicroLensError, match=message):
        extract("tiny", encoder, modality=modality, out=out, settings=quick | more, tokens=True)
    assert not list(tmp_path.glob("t.*"))


def test_the_command_names_the_files_and_odmt_trains_on_them(quick, tmp_path, capsys):
    paths = {}
    for modality, encoder in (("text", "bert_bytes"), ("image", "resnet18")):
        paths[modality] = str(tmp_path / f"{modality}.npy")
        command = [
            "extract",
            "--tokens",
            "--dataset",
            "tiny",
            "--data-path",
            quick["data_path"],
            "--workers",
            "0",
        ]
        command += ["--encoder", encoder, "--encoder-weights", "none", "--frame-size", "32"]
        assert cli.main([*command, "--out", paths[modality]]) == 0
    printed = capsys.readouterr().out
    assert "--model=ODMTSASRec --dataset=tiny --features=\"{'text': FILE, 'image': FILE}\"" in printed
    command = ["run", "--model=ODMTSASRec", "--dataset=tiny", f"--data_path={quick['data_path']}"]
    command += [
        f"--checkpoint_dir={tmp_path}",
        "--epochs=1",
        "--worker=2",
        "--use_gpu=false",
        "--state=WARNING",
    ]
    sizes = ["--hidden_size=8", "--inner_size=8", f"--features={paths}"]
    assert cli.main(command + sizes) == 0
    assert "hit@10" in capsys.readouterr().out
    assert cli.main([*command, "--hidden_size=8", f"--features={paths['text']}"]) == 2
    assert "Name the modality" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_extraction_leaves_no_file_that_is_taken_for_a_whole_one(quick, tmp_path):
    out = tmp_path / "t.npy"
    command = [sys.executable, "-m", "recbole_microlens", "extract", "--tokens", "--dataset", "tiny"]
    command += ["--data-path", quick["data_path"], "--encoder", "swin_b", "--encoder-weights", "none"]
    command += ["--batch-size", "1", "--workers", "0", "--out", str(out)]
    process = subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    with pytest.raises(MicroLensError, match="there is no file"):
        open_tokens(out)
