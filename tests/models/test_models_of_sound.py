"""Models that listen: what the reader gives, and that training, cache, features and new items take it."""

import json

import av
import numpy as np
import pytest
import torch

from recbole_microlens import load
from recbole_microlens.config import Config
from recbole_microlens.data.fingerprint import dataset_fingerprint
from recbole_microlens.data.readers.audio import SoundReader, sound_reader
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.features import extract
from recbole_microlens.media.store import MediaStore
from recbole_microlens.quick_start import run
from recbole_microlens.release.layout import find_release

RATE = 16_000
LISTENING = {
    "encoder": None,
    "audio_encoder": "logmel_cnn",
    "encoder_weights": "none",
    "finetune": "full",
    "hidden_size": 16,
    "inner_size": 32,
    "train_batch_size": 12,
    "worker": 0,
    "epochs": 1,
}


@pytest.fixture
def listening(settings):
    """Settings of a short run of SASRecA on ``tiny``."""
    return settings | LISTENING


def tokens_of(store):
    return np.array(["[PAD]", *store], dtype=object)


def test_the_reader_gives_the_windows_of_the_store(tiny_data):
    store = MediaStore(tiny_data / "tiny/audio.lmdb")
    reader = SoundReader(store, tokens_of(store), RATE // 2, "zeros")
    found = reader.read(torch.tensor([3, 1]))
    assert found.shape == (2, 2, RATE // 2) and found.dtype == torch.int16
    for row, item in zip(found, (str(reader.tokens[3]), str(reader.tokens[1])), strict=True):
        assert np.array_equal(row.numpy(), np.stack(store.read_sound(item)))
    shorter = SoundReader(store, tokens_of(store), 3_000, "zeros").read(torch.tensor([3]))
    assert torch.equal(shorter[0], found[0, :, 2_500:5_500])


def test_an_item_without_sound_is_silent_or_an_error(tiny_data):
    store = MediaStore(tiny_data / "tiny/audio.lmdb")
    tokens = np.array(["[PAD]", "1", "nobody"], dtype=object)
    reader = SoundReader(store, tokens, RATE // 2, "zeros")
    assert reader.absent().tolist() == [2]
    found = reader.read(torch.tensor([1, 2]))
    assert found[0].any() and not found[1].any()
    with pytest.raises(MicroLensError, match="1 items have no sound .* nobody"):
        SoundReader(store, tokens, RATE // 2, "error").read(torch.tensor([2]))


def test_another_sample_rate_than_the_encoders_is_one_message(
    listening, tiny_data, tiny_release, monkeypatch
):
    config = Config("SASRecA", "tiny", config_dict=listening)
    assert sound_reader(config, tokens_of(MediaStore(tiny_data / "tiny/audio.lmdb"))).samples == RATE // 2
    with pytest.raises(MicroLensError, match="audio_seconds: 3 are asked for, windows .* are of 0.5 s"):
        sound_reader(Config("SASRecA", "tiny", config_dict=listening | {"audio_seconds": 3}), np.array(["x"]))
    meta = MediaStore.__init__
    monkeypatch.setattr(
        MediaStore,
        "__init__",
        lambda self, path: (meta(self, path), vars(self).update(meta=_at_48_kilohertz(self.meta)))[0],
    )
    with pytest.raises(MicroLensError, match="takes 16000 samples a second, .* --sample-rate 16000"):
        sound_reader(config, np.array(["x"]))


def _at_48_kilohertz(meta):
    from dataclasses import replace

    return replace(meta, sample_rate=48_000)


def test_the_store_of_sound_is_part_of_what_identifies_the_data(listening, tiny_data):
    config = Config("SASRecA", "tiny", config_dict=listening)
    identity = MediaStore(tiny_data / "tiny/audio.lmdb").meta.identity
    assert dataset_fingerprint(config)["audio"] == identity


@pytest.fixture(scope="module")
def run_of_sound(tiny_data, tmp_path_factory):
    """The folder of a run whose lowest stages are frozen and cached, and its result."""
    own = {
        "data_path": str(tiny_data),
        "checkpoint_dir": str(tmp_path_factory.mktemp("runs")),
        "activation_cache": str(tmp_path_factory.mktemp("caches")),
        "activation_cache_dtype": "fp32",
        "show_progress": False,
        "use_gpu": False,
        "state": "WARNING",
        "finetune": "top",
        "finetune_stages": 2,
    }
    return run("SASRecA", "tiny", config_dict=LISTENING | own), own


def test_a_cached_run_of_sound_is_that_without_a_cache(run_of_sound, tmp_path):
    cached, own = run_of_sound
    plain = run(
        "SASRecA",
        "tiny",
        config_dict=LISTENING | own | {"activation_cache": "off", "checkpoint_dir": str(tmp_path)},
    )
    assert cached["train_losses"] == pytest.approx(plain["train_losses"], rel=1e-5)
    assert cached["test_result"] == plain["test_result"]


def test_a_new_item_is_heard_in_a_file_or_in_its_video(run_of_sound, tiny_release):
    """A copy of an item's video is most like the item itself: it sounds the same."""
    model, videos = load(run_of_sound[0]["folder"]), find_release(tiny_release).videos
    given = {"of video": {"video": videos / "3.mp4"}, "of sound": {"audio": videos / "3.mp4"}}
    assert model.add_items(given) == list(given)
    nearest = model.similar_items(["3"], k=2)
    assert set(nearest["similar_item_id"]) == set(given)
    assert nearest["score"].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_a_new_item_without_a_track_is_refused_where_nothing_else_is_looked_at(run_of_sound, tmp_path):
    path = tmp_path / "mute.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        container.mux(
            stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24"))
        )
        container.mux(stream.encode())
    with pytest.raises(MicroLensError, match="mute.mp4: no sound track. Give another file"):
        load(run_of_sound[0]["folder"]).add_items({"new": path})


def test_features_of_sound_are_those_of_the_encoder(run_of_sound, tiny_data, tmp_path):
    path = extract(
        "tiny",
        run=run_of_sound[0]["folder"],
        out=tmp_path / "f.npy",
        settings={"data_path": str(tiny_data), "use_gpu": False, "worker": 0},
        progress=False,
    )
    rows = np.load(path)
    assert rows.shape == (20, 128) and np.isfinite(rows).all() and rows.std(0).max() > 0
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["modality"], about["without_media"]) == ("audio", [])
