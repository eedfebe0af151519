"""Frames that are spread over the whole video: which they are, and which of them models take."""

import json

import av
import numpy as np
import pytest
import torch
from PIL import Image

from recbole_microlens.data.readers.frames import ImageReader, VideoReader
from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import decode
from recbole_microlens.media.build import build_frames
from recbole_microlens.media.containers import open_video, video_stream
from recbole_microlens.media.decode import read_frame_files, read_video_frames
from recbole_microlens.media.spread import frames_of_clip, select_indices, spread_evenly
from recbole_microlens.media.store import MediaStore, decode_value, encode_value
from recbole_microlens.media.store_meta import StoreMeta
from recbole_microlens.media.timeline import locate_frames

SMALL = {"size": 64, "workers": 1, "progress": False}
OF_FORTY = [1, 3, 6, 8, 11, 13, 16, 18, 21, 23, 26, 28, 31, 33, 36, 38]


@pytest.mark.parametrize(
    ("total", "wanted", "expected"),
    [
        (10, 4, [1, 3, 6, 8]),
        (40, 16, OF_FORTY),
        (100, 5, [10, 30, 50, 70, 90]),
        (5, 5, [0, 1, 2, 3, 4]),
        (101, 1, [50]),
        (3, 5, [0, 0, 1, 2, 2]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_evenly_spread_frames_are_the_centres_of_equal_parts(total, wanted, expected):
    assert spread_evenly(total, wanted) == expected


def test_a_clip_takes_the_middle_of_a_middle_store_and_spreads_over_a_uniform_one():
    middle, uniform = (StoreMeta("video", 16, 32, 1, 90, "", spread=name) for name in ("middle", "uniform"))
    assert frames_of_clip(middle, 5) == [5, 6, 7, 8, 9]
    assert frames_of_clip(uniform, 5) == [1, 4, 8, 11, 14]
    for meta in (middle, uniform):
        assert frames_of_clip(meta, 16) == list(range(16))
    # Of five frames of a video the three around its middle are those that a store of three would hold.
    five = select_indices(100, 5, 1)
    assert [five[k] for k in frames_of_clip(StoreMeta("video", 5, 32, 1, 90, ""), 3)] == select_indices(
        100, 3, 1
    )


@pytest.mark.parametrize(
    "video",
    [{}, {"bf": 0, "g": 4}, {"g": 1000}, {"x264_params": "open-gop=1:keyint=7:min-keyint=7:scenecut=0"}],
    ids=["b_frames", "many_key_frames", "one_key_frame", "open_gop"],
)
def test_they_come_out_of_a_video_in_the_order_of_display(video, tmp_path, write_video, ordinal_of):
    path = write_video(tmp_path / "v.mp4", **video)
    frames = read_video_frames(path, num_frames=16, size=64, spread="uniform")
    assert [ordinal_of(frame) for frame in frames] == OF_FORTY


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "libx264"), ("avi", "mpeg4")])
def test_they_come_out_of_other_containers(suffix, codec, tmp_path, write_video, ordinal_of):
    path = write_video(tmp_path / f"v.{suffix}", codec=codec)
    frames = read_video_frames(path, num_frames=4, size=64, spread="uniform")
    assert [ordinal_of(frame) for frame in frames] == [5, 15, 25, 35]


def test_ready_frames_are_spread_too(tmp_path):
    paths = [tmp_path / f"a-{k}.png" for k in range(10)]
    for k, path in enumerate(paths):
        Image.new("RGB", (8, 8), (20 * k,) * 3).save(path)
    frames = read_frame_files(paths, 4, 32, "uniform")
    assert [round(frame.mean() / 20) for frame in frames] == [1, 3, 6, 8]


@pytest.fixture
def stores(tmp_path, write_video):
    """Two stores of one video of 40 frames, by spread: 16 uniform frames, and 5 of the middle."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "1.mp4")
    paths = {name: tmp_path / name / "video.lmdb" for name in ("uniform", "middle")}
    build_frames(tmp_path / "videos", ["1"], paths["uniform"], num_frames=16, spread="uniform", **SMALL)
    build_frames(tmp_path / "videos", ["1"], paths["middle"], **SMALL)
    return {name: MediaStore(path) for name, path in paths.items()}


def test_a_model_takes_fewer_frames_than_the_store_holds(stores, ordinal_of):
    store = stores["uniform"]
    assert (store.meta.num_frames, store.meta.spread) == (16, "uniform")
    assert [ordinal_of(frame) for frame in store.read("1")] == OF_FORTY
    tokens, item = np.array(["[PAD]", "1"]), torch.tensor([1])
    (clip,) = VideoReader(store, tokens, 4, 64, "error").read(item).numpy()
    assert [ordinal_of(frame) for frame in clip] == [OF_FORTY[k] for k in (2, 6, 10, 14)]
    (image,) = ImageReader(store, tokens, 64, "error").read(item).numpy()
    assert ordinal_of(image) == OF_FORTY[8]
    with pytest.raises(MicroLensError, match="num_frames: 17 are asked for, .* holds 16"):
        VideoReader(store, tokens, 17, 64, "error")


def test_a_store_of_the_middle_says_of_itself_what_it_did_before(stores):
    meta = stores["middle"].meta
    assert meta.spread == "middle" and "spread" not in json.loads(meta.to_json())
    said = json.loads(stores["uniform"].meta.to_json())
    assert said["spread"] == "uniform" and stores["uniform"].meta.identity != meta.identity
    with pytest.raises(MicroLensError, match="spread out of range in its __meta__ record"):
        StoreMeta.from_json(json.dumps(said | {"spread": "odd"}).encode(), "x.lmdb")


def test_frames_are_read_by_number_as_by_slice():
    frames = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(16, 1).repeat(16, 2).repeat(3, 3) * 50
    value = encode_value(frames)
    assert np.array_equal(decode_value(value, frames=[1, 2]), decode_value(value, frames=slice(1, 3)))
    assert np.array_equal(decode_value(value, frames=[3, 0]), decode_value(value)[[3, 0]])
    with pytest.raises(ValueError, match="4 frames, number 4 is asked for"):
        decode_value(value, frames=[2, 4])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interval": 2}, "--interval 2 is for frames around the middle"),
        ({"approximate": True}, "--approximate is for frames around the middle"),
        ({"spread": "odd"}, "--spread odd: choose one of middle, uniform"),
    ],
)
def test_what_does_not_go_with_uniform_is_refused(options, said, tmp_path):
    (tmp_path / "1.mp4").write_bytes(b"x")
    with pytest.raises(MicroLensError, match=said):
        build_frames(tmp_path, ["1"], tmp_path / "video.lmdb", **{"spread": "uniform", **options})


CLOSED = {"num_frames": 120, "g": 12, "bf": 3, "preset": "medium", "x264_params": "scenecut=0"}
HEVC = "log-level=none:bframes=3:keyint=12:min-keyint=12:scenecut=0"


def _runs(path, wanted):
    with open_video(path, probe=False) as container:
        return locate_frames(container, video_stream(container), lambda total: wanted).runs


@pytest.mark.parametrize(
    ("video", "n_runs"),
    [
        (CLOSED, 10),
        (CLOSED | {"g": 1000}, 1),
        (CLOSED | {"x264_params": "scenecut=0:open-gop=1:keyint=12:min-keyint=12"}, 1),
        (CLOSED | {"milliseconds": [33 * k + 7 * (k % 5) + 900 * (k > 61) for k in range(120)]}, 10),
        ({"num_frames": 120, "codec": "libx265", "preset": "ultrafast", "x265_params": HEVC}, 6),
    ],
    ids=["closed", "one_key_frame", "open_gop", "variable_rate", "hevc_open_gop"],
)
def test_what_lies_between_is_left_out_where_decoding_may_begin_again(video, n_runs, tmp_path, write_video):
    path, wanted = write_video(tmp_path / "v.mp4", **video), spread_evenly(120, 16)
    with av.open(str(path)) as container:
        frames = [decode._to_square(frame, 32) for frame in container.decode(video=0)]
    expected = np.stack([frames[ordinal] for ordinal in wanted])
    assert np.array_equal(read_video_frames(path, 16, size=32, spread="uniform"), expected)
    assert np.array_equal(decode._decode_without_probing(path, lambda total: wanted, 32, False), expected)
    runs = _runs(path, wanted)
    assert len(runs) == n_runs and all(run[0].is_keyframe for run in runs)
    if n_runs > 1:
        assert sum(map(len, runs)) < 110
