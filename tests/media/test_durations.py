"""How long videos are, from their headers."""

from pathlib import Path

import av
import numpy as np
import pytest

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.durations import read_durations


def write_video(path: Path, frames: int, rate: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = 16
        for _ in range(frames):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_durations_are_those_of_the_files(tmp_path):
    write_video(tmp_path / "b.mp4", 30, 10)
    write_video(tmp_path / "a.mp4", 10, 20)
    (tmp_path / "sub").mkdir()
    write_video(tmp_path / "sub" / "c.mkv", 50, 10)
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    found = read_durations(tmp_path, workers=1, progress=False)
    assert list(found.seconds) == ["a", "b", "c"]
    assert found.values() == pytest.approx([0.5, 3.0, 5.0], abs=0.11)
    assert found.failed == {"broken": "not a video"}


def test_a_folder_without_a_video_that_says_its_length_is_an_error(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(MicroLensError, match="none of its 1 videos says how long it is .not a video"):
        read_durations(tmp_path, workers=1, progress=False)


def test_frames_do_not_say_how_long_a_video_is(tmp_path):
    (tmp_path / "a-1.jpg").write_bytes(b"")
    with pytest.raises(MicroLensError, match="holds frames, not videos"):
        read_durations(tmp_path, workers=1, progress=False)
