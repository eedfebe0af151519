"""An mp4 is opened without decoding anything, and only what the wanted frames depend on is decoded."""

from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from recbole_microlens.media import decode
from recbole_microlens.media.containers import open_video, video_stream
from recbole_microlens.media.decode import MediaError, read_video_frames
from recbole_microlens.media.timeline import locate_frames

VIDEOS = {
    "baseline": {"profile": "baseline", "bf": 0},
    "b_frames": {"preset": "medium", "bf": 3, "x264_params": "b-pyramid=none"},
    "b_pyramid": {"preset": "medium", "bf": 8, "refs": 6, "x264_params": "b-pyramid=normal"},
    "temporal_direct": {"preset": "medium", "bf": 4, "x264_params": "direct=temporal:weightb=1"},
    "open_gop": {"preset": "medium", "bf": 3, "x264_params": "open-gop=1:keyint=7:min-keyint=7:scenecut=0"},
    "interlaced": {"preset": "medium", "bf": 2, "x264_params": "tff=1"},
    "full_range": {"bf": 2, "x264_params": "fullrange=on:colormatrix=bt709"},
    "rotated": {"bf": 2, "rotation": 90},
    "late_start": {"bf": 2, "milliseconds": [5000 + 40 * k for k in range(40)]},
    "hevc": {"codec": "libx265", "preset": "ultrafast", "x265_params": "log-level=none:bframes=3:keyint=12"},
}


def _all_frames(path):
    with av.open(str(path)) as container:
        return [decode._to_square(frame, 32) for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", VIDEOS)
def test_frames_are_those_of_decoding_everything_from_the_start(name, tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", **VIDEOS[name])
    expected = _all_frames(path)
    assert len(expected) == 40
    for first in range(0, 39, 3):
        frames = decode._decode_without_probing(path, lambda _, first=first: [first, first + 1], 32, False)
        assert frames is not None, first
        np.testing.assert_array_equal(frames, expected[first : first + 2], f"frame {first}")


def _types_decoded(path, select, unwanted):
    """Kinds (I, P, B) of the frames that the decoder gives for the wanted ones, in the order they come."""
    with open_video(path, probe=False) as container:
        stream = video_stream(container)
        wanted = locate_frames(container, stream, select)
        given = []

        class Codec:
            def decode(self, packet):
                frames = stream.codec_context.decode(packet)
                given.extend(PictureType(frame.pict_type).name for frame in frames)
                return frames

            def __setattr__(self, name, value):
                setattr(stream.codec_context, name, value)

        assert decode._decode_packets(SimpleNamespace(codec_context=Codec()), wanted, 32, unwanted)
        return given


def test_frames_that_nothing_depends_on_are_not_decoded(tmp_path, write_video):
    params = "b-pyramid=none:b-adapt=0:scenecut=0:keyint=40"
    path = write_video(tmp_path / "v.mp4", preset="medium", bf=3, x264_params=params)
    # Of I bbb P bbb P ... in the order of display, frame 22 is b, between the P of 20 and that of 24.
    assert _types_decoded(path, lambda total: [22], "NONREF") == ["I", *"PPPPP", "B", "P"]
    assert len(_types_decoded(path, lambda total: [22], "DEFAULT")) > 20


def test_one_key_frame_away_nothing_of_the_group_before_is_read(tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", num_frames=60, g=12, bf=2)
    with open_video(path, probe=False) as container:
        wanted = locate_frames(container, video_stream(container), lambda total: [24, 25])
    (run,) = wanted.runs
    assert run[0].is_keyframe and len(run) <= 4


def test_what_does_not_come_out_is_tried_in_the_thorough_way(tmp_path, write_video, monkeypatch):
    path = write_video(tmp_path / "v.mp4", preset="medium", bf=3)
    expected = read_video_frames(path, size=32)
    monkeypatch.setitem(decode._WITHOUT_PROBING, "h264", "ALL")  # also frames that the wanted ones refer to
    decoded = decode._decode_without_probing(path, lambda total: [18, 19], 32, False)
    monkeypatch.setattr(decode, "_decode_packets", lambda *arguments: None)
    np.testing.assert_array_equal(read_video_frames(path, size=32), expected)
    assert decoded is None or len(decoded) == 2


def test_a_damaged_video_has_the_reason_of_the_thorough_way(tmp_path, write_video):
    path = write_video(tmp_path / "v.mp4", container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    assert decode._decode_without_probing(path, lambda total: [18, 19], 32, False) is None
    with pytest.raises(MediaError, match="truncated"):
        read_video_frames(path)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("keyint", "expected"), [(12, 24), (30, 30), (15, 15)])
def test_approximate_frames_begin_at_the_nearest_key_frame(
    suffix, keyint, expected, tmp_path, write_video, ordinal_of
):
    path = write_video(tmp_path / f"v.{suffix}", num_frames=44, x264_params=f"keyint={keyint}:scenecut=0")
    exact = [ordinal_of(frame) for frame in read_video_frames(path, size=64)]
    assert exact == [20, 21, 22, 23, 24]
    frames = read_video_frames(path, size=64, approximate=True)
    assert [ordinal_of(frame) for frame in frames] == [expected + k for k in range(5)]


def test_approximate_frames_of_an_open_group_begin_at_its_key_frame(tmp_path, write_video, ordinal_of):
    path = write_video(tmp_path / "v.mp4", **VIDEOS["open_gop"])
    with av.open(str(path)) as container:
        keys = [
            k for k, frame in enumerate(container.decode(video=0)) if PictureType(frame.pict_type).name == "I"
        ]
    frames = [ordinal_of(frame) for frame in read_video_frames(path, size=64, approximate=True)]
    assert frames[0] == min(keys, key=lambda key: abs(key - 18)) and frames == list(
        range(frames[0], frames[0] + 5)
    )


def test_a_key_frame_too_far_away_leaves_the_exact_frames(tmp_path, write_video, monkeypatch, ordinal_of):
    monkeypatch.setattr("recbole_microlens.media.timeline.FURTHEST_KEY_FRAME", 10)
    path = write_video(tmp_path / "v.mp4", g=1000)
    frames = read_video_frames(path, size=64, approximate=True)
    assert [ordinal_of(frame) for frame in frames] == [18, 19, 20, 21, 22]


def test_frames_that_an_edit_list_hides_are_decoded_but_not_counted(tmp_path, write_video, monkeypatch):
    source, path = write_video(tmp_path / "whole.mp4", preset="medium", bf=3), tmp_path / "v.mp4"
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    with av.open(str(source)) as whole, av.open(str(path), "w", options=options) as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None:
                three = round(3 / 25 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - three, packet.dts - three, stream
                container.mux(packet)
    expected = _all_frames(path)
    assert len(expected) == 37
    middle = decode.SPREADS["middle"]
    for first in range(0, 36, 3):
        two = replace(middle, of_video=lambda *_, first=first: [first, first + 1])
        monkeypatch.setitem(decode.SPREADS, "middle", two)
        np.testing.assert_array_equal(
            read_video_frames(path, size=32), expected[first : first + 2], f"frame {first}"
        )
