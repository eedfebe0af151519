"""Videos whose every frame says which one it is: eight black or white blocks, the bits of its ordinal."""

from fractions import Fraction

import av
import numpy as np
import pytest

ROWS, COLUMNS = 2, 4


def coded_frame(ordinal, width, height):
    """uint8 RGB [height, width, 3]: bit b of the ordinal is the block at row b // 4, column b % 4."""
    rows = np.arange(height)[:, None] * ROWS // height
    columns = np.arange(width)[None, :] * COLUMNS // width
    bits = (ordinal >> (rows * COLUMNS + columns)) & 1
    return np.repeat((30 + 200 * bits).astype(np.uint8)[:, :, None], 3, axis=2)


def _ordinal_of(frame):
    """The ordinal that a decoded frame [size, size, 3] shows."""
    size = frame.shape[0]
    height, width = size // ROWS, size // COLUMNS
    ordinal = 0
    for bit in range(ROWS * COLUMNS):
        row, column = divmod(bit, COLUMNS)
        top, left = row * height + height // 4, column * width + width // 4
        block = frame[top : top + height // 2, left : left + width // 2]
        ordinal |= int(block.mean() > 128) << bit
    return ordinal


def _write_video(
    path,
    num_frames=40,
    width=96,
    height=64,
    milliseconds=None,
    rotation=None,
    codec="libx264",
    container_options=None,
    **codec_options,
):
    """Encode ``num_frames`` coded frames; ``milliseconds`` are their times (default 25 frames per second)."""
    defaults = {"g": "12", "bf": "2", "preset": "ultrafast"} if codec == "libx264" else {}
    options = {**defaults, **{name.replace("_", "-"): str(value) for name, value in codec_options.items()}}
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if width % 2 or height % 2:
            stream.pix_fmt = "yuv444p"
        stream.codec_context.time_base = Fraction(1, 1000) if milliseconds else Fraction(1, 25)
        if rotation:
            stream.set_display_rotation(rotation)
        for ordinal in range(num_frames):
            frame = av.VideoFrame.from_ndarray(coded_frame(ordinal, width, height), format="rgb24")
            frame.pts = milliseconds[ordinal] if milliseconds else ordinal
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def ordinal_of():
    return _ordinal_of


@pytest.fixture
def write_video():
    return _write_video


@pytest.fixture(scope="session")
def video_bytes(tmp_path_factory):
    """A plain video of 40 frames, for tests to which its content is indifferent."""
    return _write_video(tmp_path_factory.mktemp("video") / "plain.mp4").read_bytes()


@pytest.fixture(name="coded_frame")
def give_coded_frame():
    return coded_frame


def _write_sound(
    path,
    seconds,
    frequency,
    codec="aac",
    rate=44_100,
    video=False,
    gains=(1.0, 1.0),
    container_options=None,
):
    """A tone whose ``frequency`` is a function of seconds, on two channels; ``video``: with pictures."""
    time = np.arange(int(seconds * rate)) / rate
    hertz = frequency(time)
    wave = 0.4 * np.sin(2 * np.pi * (np.cumsum(hertz) - hertz[0]) / rate)
    channels = np.stack([gain * wave for gain in gains]).astype(np.float32)
    with av.open(str(path), "w", options=container_options or {}) as container:
        pictures = container.add_stream("libx264", rate=10) if video else None
        stream = container.add_stream(codec, rate=rate)
        stream.codec_context.layout = "stereo"
        if pictures:
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
            for ordinal in range(int(seconds * 10)):
                frame = av.VideoFrame.from_ndarray(coded_frame(ordinal, 32, 32), format="rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode())
        for start in range(0, len(time), rate):
            part = np.ascontiguousarray(channels[:, start : start + rate])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def write_sound():
    return _write_sound
