"""The weights of encoders are looked for before any data is prepared."""

import dataclasses
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recbole_microlens import cli
from recbole_microlens.config import Config
from recbole_microlens.encoders import registry
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run
from recbole_microlens.training.prerequisites import require_weights

REFUSED = "http://127.0.0.1:9/x3d.pyth"  # the port of "discard", where nothing listens


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Return a function that says where the weights of ``x3d_xs`` are; the cache of torch.hub is empty."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "torch"))

    def at(url):
        spec = registry.ENCODERS["x3d_xs"]
        published = dataclasses.replace(spec.published, url=url, hash_in_name=False)
        monkeypatch.setitem(registry.ENCODERS, "x3d_xs", dataclasses.replace(spec, published=published))
        return tmp_path / "torch" / "checkpoints"

    return at


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The hub is out of reach, and its cache is empty."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def config_of(model, data_path, **settings):
    return Config(model, "tiny", config_dict={"data_path": str(data_path), "use_gpu": False} | settings)


def test_without_internet_a_run_stops_before_data_are_made_and_says_how_to_go_on(publish, tmp_path, capsys):
    cache = publish(REFUSED)
    chosen = ["--encoder=x3d_xs", "--encoder_weights=pretrained", f"--data_path={tmp_path / 'data'}"]
    chosen += [f"--checkpoint_dir={tmp_path / 'runs'}", "--use_gpu=false"]
    assert cli.main(["run", "--model=SASRecV", "--dataset=microlens-sample", *chosen]) == 2
    error = capsys.readouterr().err
    assert REFUSED in error and str(cache) in error
    for way in ("--encoder_weights=none", "--encoder_weights=PATH", "--features=FILE.npy"):
        assert way in error
    assert not (tmp_path / "data").exists() and not (tmp_path / "runs").exists()


def test_a_dataset_that_is_missing_is_said_before_anything_is_downloaded(publish, content_settings, tmp_path):
    publish(REFUSED)
    settings = content_settings | {"encoder_weights": "pretrained", "data_path": str(tmp_path)}
    with pytest.raises(MicroLensError, match="Dataset absent is not in"):
        run("SASRecV", "absent", config_dict=settings)


def test_weights_are_downloaded_once(publish, content_settings, tiny_data, tmp_path, monkeypatch):
    asked = []
    folder = tmp_path / "served"
    folder.mkdir()
    torch.save({"weight": torch.zeros(1)}, folder / "x3d.pyth")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda self, *_: asked.append(self.path))
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    cache = publish(f"http://127.0.0.1:{http.server_port}/x3d.pyth")
    config = config_of("SASRecV", tiny_data, encoder="x3d_xs", encoder_weights="pretrained")
    try:
        for _ in range(2):
            require_weights(config)
            assert (cache / "x3d.pyth").read_bytes() == (folder / "x3d.pyth").read_bytes()
    finally:
        http.shutdown()
        http.server_close()
    assert asked == ["/x3d.pyth"]


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("SASRec", {}),
        ("SASRecID", {}),
        ("SASRecV", {"encoder": "x3d_xs", "encoder_weights": "none"}),
        ("SASRecV", {"features": "FILE"}),
        (
            "SASRecM",
            {"item_modality": ["image", "video"], "features": {"video": "FILE"}, "encoder_weights": None},
        ),
    ],
    ids=["stock", "ids", "random", "features", "features of one modality"],
)
def test_what_a_run_does_not_load_is_not_looked_for(model, settings, publish, offline, tiny_data, tmp_path):
    cache = publish(REFUSED)
    np.save(tmp_path / "FILE.npy", np.zeros((20, 4), np.float32))
    path = str(tmp_path / "FILE.npy")
    given = {"FILE": path, "{'video': 'FILE'}": {"video": path}}
    settings = {key: given.get(str(value), value) for key, value in settings.items()}
    require_weights(config_of(model, tiny_data, **settings))
    assert not cache.exists() and not (tmp_path / "cache").exists()


def test_a_checkpoint_file_that_is_missing_is_said_early(tiny_data):
    config = config_of("SASRecV", tiny_data, encoder="x3d_xs", encoder_weights="nowhere.pth")
    with pytest.raises(MicroLensError, match="there is no file nowhere.pth"):
        require_weights(config)


@pytest.mark.parametrize(
    ("model", "encoder", "weights", "what"),
    [
        ("SASRecI", "dinov2_small", "pretrained", "encoder_weights: facebook/dinov2-small"),
        ("SASRecT", "bert_small", "none", r"encoder \(its tokenizer\): prajjwal1/bert-small"),
        ("SASRecV", "videomae_small", "org/name", "encoder_weights: org/name"),
        ("SASRecV", "videomae_small", "/nowhere/at/all", "encoder_weights: /nowhere/at/all"),
    ],
)
def test_networks_of_the_hub_are_looked_for_too(model, encoder, weights, what, offline, tiny_data):
    config = config_of(model, tiny_data, encoder=encoder, encoder_weights=weights)
    with pytest.raises(MicroLensError, match=f"{what} is no folder here.*--encoder_weights=none"):
        require_weights(config)


def test_titles_need_nothing_with_tokens_of_bytes(offline, tiny_data, tmp_path):
    require_weights(config_of("SASRecT", tiny_data, encoder="bert_bytes", encoder_weights="none"))
    assert not (tmp_path / "cache").exists()


def test_what_the_hub_s_cache_has_is_not_loaded_twice(tiny_data, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--facebook--dinov2-small"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("not looked into")
    config = config_of("SASRecI", tiny_data, encoder="dinov2_small", encoder_weights="pretrained")
    require_weights(config)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(MicroLensError, match="facebook/dinov2-small"):
        require_weights(config)


def test_weights_that_come_with_a_package_are_not_downloaded(publish, tiny_data, monkeypatch):
    cache = publish(REFUSED)
    spec = registry.ENCODERS["x3d_xs"]
    packaged = SimpleNamespace(url=REFUSED, licence="", trained_on="")
    monkeypatch.setitem(registry.ENCODERS, "x3d_xs", dataclasses.replace(spec, published=packaged))
    require_weights(config_of("SASRecV", tiny_data, encoder="x3d_xs", encoder_weights="pretrained"))
    assert not cache.exists()
