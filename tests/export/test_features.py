"""extract: the rows are what a model computes, and training on them is training on the frozen encoder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_microlens import cli
from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.media import create_reader
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.features import extract
from recbole_microlens.items.feature_file import open_features
from recbole_microlens.quick_start import load, run
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.training.preparation import prepare_data

CLIP = {"frame_size": 32, "num_frames": 2}


@pytest.fixture
def quick(settings, tiny_encoders):
    """Settings of an extraction from ``tiny``."""
    return {
        "data_path": settings["data_path"],
        "use_gpu": False,
        "worker": 0,
        "encode_batch_size": 7,
        "max_title_tokens": 24,
        "seed": 3,
    } | CLIP


@pytest.fixture
def weights(tmp_path, tiny_encoders):
    """A checkpoint of the tiny video encoder."""
    torch.manual_seed(5)
    torch.save(create_encoder("tiny_video", EncoderOptions()).network.state_dict(), tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def built(settings, **more):
    config = Config("SASRecV", "tiny", config_dict=settings | more)
    train, _, _ = prepare_data(config, create_dataset(config))
    torch.manual_seed(0)
    return config.model_class(config, train._dataset), train


@pytest.mark.parametrize("encoder", ["tiny_video", "tiny_image", "tiny_text", "x3d_xs"])
def test_rows_are_what_the_encoder_gives_in_the_order_of_the_items(encoder, quick, tmp_path):
    path = extract(
        "tiny", encoder, out=tmp_path / "f.npy", settings=quick | {"encoder_weights": "none"}, progress=False
    )
    about = json.loads(path.with_suffix(".json").read_text())
    items = read_item_ids(Path(quick["data_path"]) / "tiny", "tiny")
    assert about["item_ids"] == items == sorted(items, key=int)
    assert (about["encoder"], about["without_media"]) == (encoder, [])

    torch.manual_seed(3)
    network = create_encoder(encoder, EncoderOptions(2, 32)).eval()
    modality = about["modality"]
    config = Config("SASRecV", "tiny", config_dict=quick | {f"{modality}_encoder": encoder})
    reader = create_reader(config, modality, np.array(["[PAD]", *items]))
    with torch.no_grad():
        expected = network(reader.read(torch.arange(1, len(items) + 1)))
    np.testing.assert_allclose(np.load(path), expected.numpy(), atol=1e-5)
    assert np.load(path).std() > 1e-3


def test_training_on_the_features_is_training_on_the_frozen_encoder(
    quick, weights, settings, tiny_encoders, tmp_path
):
    given = quick | {"encoder_weights": weights}
    path = extract("tiny", "tiny_video", out=tmp_path / "f.npy", settings=given, progress=False)
    chosen = settings | tiny_encoders | {"encoder_weights": weights, "finetune": "frozen"}
    chosen["projection_activation"] = "gelu"  # of a file it would be linear, as in the paper's VIDRec
    frozen, on_frozen = built(chosen)
    featured, on_features = built(chosen, features=str(path))
    for _ in range(2):
        for batch, same in zip(on_frozen, on_features, strict=True):
            losses = []
            for model, data in ((frozen, batch), (featured, same)):
                torch.manual_seed(1)
                model.train()
                loss = model.calculate_loss(data)
                model.zero_grad()
                loss.backward()
                with torch.no_grad():
                    for parameter in model.parameters():
                        if parameter.grad is not None:
                            parameter -= 0.05 * parameter.grad
                losses.append(loss.item())
            assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    results = [
        run("SASRecV", "tiny", config_dict=chosen | more)["best_valid_result"]
        for more in ({}, {"features": str(path)})
    ]
    assert results[0] == results[1]


def test_the_trained_encoder_of_a_run_gives_what_the_run_computes(
    quick, settings, tiny_encoders, tmp_path, capsys
):
    folder = run("SASRecV", "tiny", config_dict=settings | tiny_encoders)["folder"]
    out = tmp_path / "run.npy"
    assert (
        cli.main(["extract", "--dataset", "tiny", "--run", folder, "--out", str(out), "--workers", "0"]) == 0
    )
    assert f"--features={out}" in capsys.readouterr().out
    file = open_features(out)
    loaded = load(folder)
    train, trainer = loaded.train_data, loaded.trainer
    trainer.model.eval()
    media = train.reader.read(torch.tensor([4, 2, 9]))
    with torch.no_grad():
        expected = trainer.model.item_embedding.towers["video"].encoder(media.content["video"])
    tokens = train.reader.readers["video"].tokens[[4, 2, 9]]
    np.testing.assert_allclose(file.rows[file.rows_of(tokens)], expected.numpy(), atol=1e-5)


def test_items_without_media_are_encoded_as_a_model_would_and_named(quick, write_inter, tiny_data, tmp_path):
    items = read_item_ids(tiny_data / "tiny", "tiny")[:4]
    data_path = write_inter("some", [("u", item, place) for place, item in enumerate([*items, "late"])])
    (data_path / "some" / "video.lmdb").symlink_to(tiny_data / "tiny" / "video.lmdb")
    given = quick | {"data_path": str(data_path), "encoder_weights": "none"}
    path = extract("some", "tiny_video", settings=given, progress=False)
    assert path == data_path / "some" / "video-tiny_video.npy"
    about = json.loads(path.with_suffix(".json").read_text())
    assert about["item_ids"][-1:] == about["without_media"] == ["late"]
    torch.manual_seed(3)
    black = create_encoder("tiny_video", EncoderOptions(2, 32)).eval()(
        torch.zeros(1, 2, 32, 32, 3, dtype=torch.uint8)
    )
    np.testing.assert_allclose(np.load(path)[-1], black[0].detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Give an encoder"),
        (["--encoder", "tiny_video", "--run", "r"], "Give an encoder"),
        (["--encoder", "tiny_vidoe"], "Did you mean 'tiny_video'"),
        (["--encoder", "tiny_video", "--modality", "text"], "tiny_video looks at video, not at text"),
        (["--encoder", "tiny_video", "--encoder-weights", "none", "--out", "f.txt"], "does not end in .npy"),
        (["--run", "nowhere"], "nowhere is not a run folder"),
        (["--run", "nowhere", "--frame-size", "3"], "--frame-size is known from the run"),
        (["--encoder", "tiny_video", "--frame-size", "-3"], "frame_size: -3 is not"),
    ],
)
def test_bad_options_are_one_message(
    options, message, tiny_encoders, tiny_data, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["extract", "--dataset", "tiny", "--data-path", str(tiny_data), *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_without_an_encoder_or_with_several(quick, tiny_encoders, tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("model: BPR\n")
    with pytest.raises(MicroLensError, match="is a run of BPR, which has no encoder"):
        extract("tiny", run=tmp_path, settings={"data_path": quick["data_path"], "use_gpu": False})
    (tmp_path / "config.yaml").write_text("model: SASRecV\n")
    monkeypatch.setattr(
        "recbole_microlens.export.features.modalities", lambda config: ("id", "image", "video")
    )
    with pytest.raises(MicroLensError, match="has encoders for image, video. Choose one: --modality image"):
        extract("tiny", run=tmp_path, settings=quick)
    with pytest.raises(MicroLensError, match="has no encoder for text, only for image, video"):
        extract("tiny", run=tmp_path, modality="text", settings=quick)
