"""The frames that come out of a video are the middle ones, whatever its container, codec or timing."""

import struct
from dataclasses import replace

import av
import numpy as np
import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import decode
from recbole_microlens.media.decode import MediaError, read_video_frames, select_indices


@pytest.mark.parametrize(
    ("total", "num_frames", "interval", "expected"),
    [
        (100, 5, 1, [48, 49, 50, 51, 52]),
        (101, 5, 1, [48, 49, 50, 51, 52]),
        (100, 5, 10, [30, 40, 50, 60, 70]),
        (100, 4, 1, [48, 49, 50, 51]),
        (100, 2, 1, [49, 50]),
        (100, 2, 3, [48, 51]),
        (100, 1, 1, [50]),
        (5, 5, 1, [0, 1, 2, 3, 4]),
        (9, 5, 2, [0, 2, 4, 6, 8]),
        (3, 5, 1, [0, 1, 2, 2, 2]),
        (1, 5, 1, [0, 0, 0, 0, 0]),
        (4, 5, 2, [0, 2, 3, 3, 3]),
    ],
)
def test_indices_are_centred_and_short_videos_repeat_their_last(total, num_frames, interval, expected):
    assert select_indices(total, num_frames, interval) == expected


def test_indices_stay_inside_every_video_and_are_centred_when_it_is_long_enough():
    for total in range(1, 40):
        for num_frames in range(1, 8):
            for interval in range(1, 4):
                indices = select_indices(total, num_frames, interval)
                assert len(indices) == num_frames
                assert indices[0] >= 0 and indices[-1] <= total - 1
                if (num_frames - 1) * interval < total:
                    assert set(np.diff(indices)) <= {interval}
                    assert abs((indices[0] + indices[-1]) / 2 - (total - 1) / 2) <= 1


VARIABLE_RATE = [20 * k if k < 30 else 600 + 130 * (k - 30) for k in range(40)]

VIDEOS = {
    "b_frames": {},
    "no_b_frames": {"bf": 0},
    "variable_rate": {"milliseconds": VARIABLE_RATE},
    "many_b_frames_and_references": {"bf": 8, "preset": "medium", "refs": 6, "b_pyramid": "normal"},
    "open_gop": {"preset": "medium", "bf": 3, "x264_params": "open-gop=1:keyint=7:min-keyint=7:scenecut=0"},
    "one_key_frame": {"g": 1000},
    "late_start": {"milliseconds": [5000 + 40 * k for k in range(40)]},
    "portrait": {"width": 64, "height": 112},
    "odd_size": {"width": 97, "height": 65},
    "fragmented": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "index_first": {"container_options": {"movflags": "faststart"}},
}
CONTAINERS = {"mp4": "libx264", "mkv": "libx264", "ts": "libx264", "avi": "mpeg4", "webm": "libvpx-vp9"}


@pytest.mark.parametrize("name", VIDEOS)
def test_middle_frames_are_found_by_ordinal_in_any_mp4(name, tmp_path, write_video, ordinal_of):
    path = write_video(tmp_path / "v.mp4", **VIDEOS[name])
    frames = read_video_frames(path, num_frames=5, interval=1, size=64)
    assert frames.shape == (5, 64, 64, 3) and frames.dtype == np.uint8
    assert [ordinal_of(frame) for frame in frames] == [18, 19, 20, 21, 22]


@pytest.mark.parametrize("suffix", CONTAINERS)
@pytest.mark.parametrize("interval", [1, 6])
def test_middle_frames_are_found_in_any_container(suffix, interval, tmp_path, write_video, ordinal_of):
    path = write_video(tmp_path / f"v.{suffix}", codec=CONTAINERS[suffix])
    frames = read_video_frames(path, num_frames=5, interval=interval, size=64)
    assert [ordinal_of(frame) for frame in frames] == [20 + interval * k for k in range(-2, 3)]


@pytest.mark.parametrize("name", ["b_frames", "variable_rate", "open_gop"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_every_position_equals_decoding_from_the_start(name, suffix, tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / f"v.{suffix}", **VIDEOS[name])
    with av.open(str(path)) as container:
        expected = [decode._to_square(frame, 64) for frame in container.decode(video=0)]
    assert len(expected) == 40
    middle = decode.SPREADS["middle"]
    for first in range(0, 40, 3):
        two = replace(middle, of_video=lambda *_, first=first: [first, min(first + 1, 39)])
        monkeypatch.setitem(decode.SPREADS, "middle", two)
        np.testing.assert_array_equal(
            read_video_frames(path, 2, 1, 64), [expected[first], expected[min(first + 1, 39)]]
        )


def test_only_the_packets_around_the_wanted_frames_of_an_mp4_are_decoded(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / "v.mp4", num_frames=200)
    decoded = []
    original = decode._decode_pts

    class Counted:
        def __init__(self, container):
            self._container = container

        def decode(self, stream):
            for frame in self._container.decode(stream):
                decoded.append(frame.pts)
                yield frame

    monkeypatch.setattr(decode, "_decode_without_probing", lambda *arguments: None)
    monkeypatch.setattr(decode, "_decode_pts", lambda container, *rest: original(Counted(container), *rest))
    read_video_frames(path, size=64)
    assert 5 <= len(decoded) <= 12 + 5


def test_frames_keep_their_colours(tmp_path):
    colours = [(200, 40, 60), (30, 180, 90), (50, 60, 210)]
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for colour in colours:
            pixels = np.full((96, 128, 3), colour, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    frames = read_video_frames(tmp_path / "v.mp4", num_frames=3, size=64)
    np.testing.assert_allclose(frames.mean(axis=(1, 2)), colours, atol=4)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_metadata_is_applied(rotation, tmp_path, write_video):
    plain = read_video_frames(write_video(tmp_path / "plain.mp4"), size=64)
    turned = read_video_frames(write_video(tmp_path / "turned.mp4", rotation=rotation), size=64)
    with av.open(str(tmp_path / "turned.mp4")) as container:
        assert (next(container.decode(video=0)).rotation - rotation) % 360 == 0
    np.testing.assert_array_equal(turned, np.rot90(plain, rotation // 90, axes=(1, 2)))


def test_video_of_a_phone_held_upright_is_turned_clockwise(tmp_path, write_video):
    """ISO 14496-12 maps (x, y), y downwards, to (a x + c y, b x + d y): b = 1 turns right to down."""
    path = write_video(tmp_path / "v.mp4")
    upright, content = read_video_frames(path, size=64), bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 20] = struct.pack(">5i", 0, 1 << 16, 0, -(1 << 16), 0)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_video_frames(path, size=64), np.rot90(upright, -1, axes=(1, 2)))


@pytest.mark.parametrize("num_frames", [1, 3])
def test_short_video_gives_all_its_frames_then_repeats_the_last(
    num_frames, tmp_path, write_video, ordinal_of
):
    frames = read_video_frames(write_video(tmp_path / "v.mp4", num_frames=num_frames), size=64)
    assert [ordinal_of(frame) for frame in frames] == [min(k, num_frames - 1) for k in range(5)]


def _write_audio_with_cover(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt, cover.disposition = "yuvj420p", av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame(64, 64, "yuvj420p")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 16000
        container.mux(stream.encode(samples))
        container.mux(stream.encode())


def test_what_is_no_video_is_refused_with_its_reason(tmp_path, video_bytes):
    path = tmp_path / "v.mp4"
    with pytest.raises(MediaError, match="missing"):
        read_video_frames(path)
    for content, reason in [
        (b"", "empty file"),
        (b"<html>404 not found</html>" * 40, "not a video"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n", "not a video|decoded|stream"),
        (video_bytes[: len(video_bytes) // 2], r"truncated: .*\(moov\)"),
    ]:
        path.write_bytes(content)
        with pytest.raises(MediaError, match=reason):
            read_video_frames(path)


def test_cover_art_of_a_sound_file_is_not_a_video(tmp_path):
    path = tmp_path / "v.mp4"
    _write_audio_with_cover(path)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(MicroLensError, match="no video stream"):
        read_video_frames(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_video_cut_before_its_middle_is_truncated(suffix, tmp_path, write_video):
    path = write_video(
        tmp_path / f"v.{suffix}",
        num_frames=200,
        container_options={"movflags": "faststart"} if suffix == "mp4" else {},
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 5])
    with pytest.raises(MediaError, match="truncated"):
        read_video_frames(path)


def test_video_with_a_wiped_middle_is_refused_and_does_not_give_grey_frames(tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", container_options={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(MediaError, match="truncated|damaged"):
        read_video_frames(path)
