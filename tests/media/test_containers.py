"""Every suffix that is advertised is of a container that PyAV reads here, tried on a real file."""

import av
import pytest

from recbole_microlens.media.decode import read_video_frames
from recbole_microlens.media.suffixes import VIDEO_SUFFIXES

# Suffix -> codec, and the format where the suffix alone does not tell PyAV what to write.
CONTAINERS = {
    ".mp4": ("libx264", None),
    ".m4v": ("libx264", "mp4"),
    ".mov": ("libx264", None),
    ".mkv": ("libx264", None),
    ".webm": ("libvpx", None),
    ".avi": ("mpeg4", None),
    ".flv": ("flv", None),
    ".f4v": ("libx264", "mp4"),
    ".ts": ("libx264", None),
    ".mts": ("libx264", "mpegts"),
    ".m2ts": ("libx264", None),
    ".3gp": ("libx264", None),
    ".3g2": ("libx264", None),
    ".wmv": ("wmv2", None),
    ".asf": ("wmv2", None),
    ".mpg": ("mpeg2video", None),
    ".mpeg": ("mpeg1video", "mpeg"),
    ".mpe": ("mpeg1video", "mpeg"),
    ".m1v": ("mpeg1video", None),
    ".m2v": ("mpeg2video", None),
    ".vob": ("mpeg2video", "vob"),
    ".ogv": ("libvpx", "ogg"),
    ".ogg": ("libvpx", "ogg"),
    ".mxf": ("mpeg2video", None),
    ".rm": ("rv20", None),
    ".rmvb": ("rv20", "rm"),
    ".divx": ("mpeg4", "avi"),
    ".dv": ("dvvideo", None),
    ".nut": ("mpeg4", None),
    ".y4m": ("wrapped_avframe", None),
    ".mjpeg": ("mjpeg", "mjpeg"),
    ".h264": ("libx264", None),
    ".264": ("libx264", "h264"),
    ".h265": ("libx265", "hevc"),
    ".hevc": ("libx265", None),
    ".ivf": ("libvpx", None),
    ".obu": ("libsvtav1", None),
    ".wtv": ("mpeg2video", None),
    ".gif": ("gif", None),
}
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}
QUIET = {"libx265": {"x265-params": "log-level=none"}}
FRAMES = 30


@pytest.fixture
def write_container(coded_frame):
    def write(path, codec, form):
        with av.open(str(path), "w", format=form) as container:
            stream = container.add_stream(codec, rate=25, options=QUIET.get(codec, {}))
            stream.width, stream.height = (720, 576) if codec == "dvvideo" else (160, 128)
            stream.pix_fmt = PIXELS.get(codec, "yuv420p")
            for ordinal in range(FRAMES):
                pixels = coded_frame(ordinal, stream.width, stream.height)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=stream.pix_fmt)
                frame.pts = ordinal
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    return write


def test_every_advertised_suffix_is_tried():
    assert tuple(CONTAINERS) == VIDEO_SUFFIXES


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_the_middle_frames_of_every_container_are_read(suffix, tmp_path, write_container, ordinal_of):
    codec, form = CONTAINERS[suffix]
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV does not write {codec}")
    path = tmp_path / f"video{suffix}"
    write_container(path, codec, form)
    assert [ordinal_of(frame) for frame in read_video_frames(path, 5, 1, 64)] == [13, 14, 15, 16, 17]
