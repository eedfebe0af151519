"""Weights: from a server on localhost, from files, and every way in which they do not fit."""

import dataclasses
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from recbole_microlens.encoders import registry
from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import ENCODERS, create_encoder
from recbole_microlens.errors import MicroLensError


def checkpoint_of(name, wrapper=None):
    """A checkpoint in the published form: the whole network with a classification layer of 400 classes."""
    torch.manual_seed(1)
    state = create_encoder(name, EncoderOptions(5, 32)).network.state_dict()
    prefix = ENCODERS[name].head[-1]
    state[f"{prefix}.weight"], state[f"{prefix}.bias"] = torch.randn(400, 7), torch.randn(400)
    return {wrapper: state, "epoch": 3} if wrapper else state


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder served on localhost, and an empty cache of torch.hub."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    torch_home = tmp_path / "torch_home"
    monkeypatch.setattr(torch.hub, "_hub_dir", str(torch_home))
    yield folder, f"http://127.0.0.1:{http.server_port}", torch_home / "checkpoints"
    http.shutdown()
    http.server_close()


def point_to(monkeypatch, name, url):
    spec = ENCODERS[name]
    published = dataclasses.replace(spec.published, url=url, hash_in_name=False)
    monkeypatch.setitem(registry.ENCODERS, name, dataclasses.replace(spec, published=published))


@pytest.mark.parametrize(("name", "wrapper"), [("x3d_xs", "model_state"), ("r3d_18", None)])
def test_kinetics_weights_are_downloaded_once_and_loaded(name, wrapper, server, monkeypatch):
    folder, url, cache = server
    state = checkpoint_of(name, wrapper)
    torch.save(state, folder / "weights.pyth")
    point_to(monkeypatch, name, f"{url}/weights.pyth")
    encoder = create_encoder(name, EncoderOptions(5, 32, weights="kinetics"))
    for key, value in encoder.network.state_dict().items():
        torch.testing.assert_close(value, (state[wrapper] if wrapper else state)[key])
    assert (cache / "weights.pyth").is_file()
    (folder / "weights.pyth").unlink()
    create_encoder(name, EncoderOptions(5, 32, weights="kinetics"))


def test_impossible_download_names_the_url_and_where_to_put_the_file(server, monkeypatch):
    _, url, cache = server
    point_to(monkeypatch, "x3d_xs", f"{url}/missing.pyth")
    with pytest.raises(MicroLensError) as error:
        create_encoder("x3d_xs", EncoderOptions(5, 32, weights="kinetics"))
    assert f"{url}/missing.pyth" in str(error.value)
    assert str(cache) in str(error.value)


def test_damaged_download_is_an_error(server, monkeypatch):
    folder, url, _ = server
    (folder / "broken.pyth").write_bytes(b"not a checkpoint")
    point_to(monkeypatch, "x3d_xs", f"{url}/broken.pyth")
    with pytest.raises(MicroLensError, match="damaged or no checkpoint"):
        create_encoder("x3d_xs", EncoderOptions(5, 32, weights="kinetics"))


def test_file_is_loaded_and_none_is_random(tmp_path):
    state = checkpoint_of("x3d_xs")
    torch.save(state, tmp_path / "x3d.pth")
    loaded = create_encoder(
        "x3d_xs", EncoderOptions(5, 32, weights=str(tmp_path / "x3d.pth"))
    ).network.state_dict()
    random = create_encoder("x3d_xs", EncoderOptions(5, 32, weights="none")).network.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in loaded)
    assert not torch.equal(random["blocks.0.conv.conv_t.weight"], state["blocks.0.conv.conv_t.weight"])


def test_mismatch_lists_keys_and_shapes(tmp_path):
    state = checkpoint_of("x3d_xs")
    del state["blocks.0.norm.weight"]
    state["blocks.9.weight"] = torch.zeros(2)
    state["blocks.0.norm.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "wrong.pth")
    with pytest.raises(MicroLensError) as error:
        create_encoder("x3d_xs", EncoderOptions(5, 32, weights=str(tmp_path / "wrong.pth")))
    message = str(error.value)
    assert "missing blocks.0.norm.weight [24]" in message
    assert "unexpected blocks.9.weight [2]" in message
    assert "blocks.0.norm.bias is [3], the network has [24]" in message


@pytest.mark.parametrize(
    ("name", "wrapper"),
    [
        ("c2d_r50", "model_state"),
        ("resnet18", None),
        pytest.param("slowfast_r50", "model_state", marks=pytest.mark.slow),
        pytest.param("csn_r101", "model_state", marks=pytest.mark.slow),
        pytest.param("mvit_base_32x3", "model_state", marks=pytest.mark.slow),
        pytest.param("swin3d_t", None, marks=pytest.mark.slow),
        pytest.param("swin_t", None, marks=pytest.mark.slow),
    ],
)
def test_published_form_is_loaded_with_its_head_and_without(name, wrapper, tmp_path):
    torch.manual_seed(1)
    state = create_encoder(name, EncoderOptions(2, 32, output="head")).network.state_dict()
    path = tmp_path / "published.pth"
    torch.save({wrapper: state} if wrapper else state, path)
    for output, absent in (("head", 0), ("pooled", 2)):
        loaded = create_encoder(
            name, EncoderOptions(2, 32, weights=str(path), output=output)
        ).network.state_dict()
        assert len(loaded) == len(state) - absent
        assert all(torch.equal(value, state[key]) for key, value in loaded.items())
    path.unlink()


def test_a_checkpoint_without_counts_of_batches_is_loaded(tmp_path):
    state = checkpoint_of("x3d_xs")
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    loaded = create_encoder(
        "x3d_xs", EncoderOptions(5, 32, weights=str(tmp_path / "old.pth"))
    ).network.state_dict()
    assert torch.equal(loaded["blocks.0.norm.weight"], state["blocks.0.norm.weight"])
    assert loaded["blocks.0.norm.num_batches_tracked"] == 0


class _Harmful:
    def __reduce__(self):
        return (pytest.fail, ("a checkpoint ran code",))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_bytes(b""), "not a file of plain tensors"),
        (lambda path: path.write_bytes(pickle.dumps(_Harmful())), "not a file of plain tensors"),
        (lambda path: torch.save({"a": 1}, path), "holds no state_dict"),
    ],
)
def test_unusable_file_is_an_error_and_runs_no_code(tmp_path, write, message):
    write(tmp_path / "file.pth")
    with pytest.raises(MicroLensError, match=message):
        create_encoder("x3d_xs", EncoderOptions(5, 32, weights=str(tmp_path / "file.pth")))
