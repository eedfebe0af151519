"""Windows of sound as the value of an item in ``audio.lmdb``: lossless FLAC, or plain samples."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import av
import numpy as np

from recbole_microlens.media.packed_parts import joined, parts_of
from recbole_microlens.media.store_meta import StoreMeta

_PLAIN_FLAC = {
    "metadata_header_padding": "0",
    "fflags": "+bitexact",
}  # 8 kB of room for tags, and FFmpeg's name
_LITTLE_ENDIAN = np.dtype("<i2")


@dataclass(frozen=True)
class SoundCodec:
    """How a window is stored.

    Attributes
    ----------
    encode : callable
        ``(samples, rate) -> bytes``, of int16 [n].
    decode : callable
        The inverse: ``(bytes, most) -> int16 [n]``; raises ``ValueError`` for what is damaged or has more
        than ``most`` samples.
    """

    encode: Callable[[np.ndarray, int], bytes]
    decode: Callable[[memoryview, int], np.ndarray]


def _as_flac(samples: np.ndarray, rate: int) -> bytes:
    written = io.BytesIO()
    with av.open(written, "w", format="flac", options=_PLAIN_FLAC) as container:
        stream = container.add_stream("flac", rate=rate)
        stream.codec_context.layout, stream.codec_context.format = "mono", "s16"
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return written.getvalue()


def _of_flac(part: memoryview, most: int) -> np.ndarray:
    frames, count = [], 0
    try:
        with av.open(io.BytesIO(part), "r", format="flac") as container:
            for frame in container.decode(audio=0):
                if frame.layout.nb_channels != 1 or frame.format.name != "s16":
                    raise ValueError("its FLAC is not of one channel in 16 bits")
                count += frame.samples
                if count > most:  # what a FLAC says of its own length is not believed
                    raise ValueError(f"a window of more than {most} samples")
                frames.append(frame.to_ndarray()[0])
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"its FLAC cannot be decoded: {error}") from error
    return np.concatenate(frames) if frames else np.zeros(0, dtype=np.int16)


def _as_samples(samples: np.ndarray, rate: int) -> bytes:
    return samples.astype(_LITTLE_ENDIAN).tobytes()


def _of_samples(part: memoryview, most: int) -> np.ndarray:
    if len(part) % 2 or len(part) > 2 * most:
        raise ValueError(f"{len(part)} bytes are no window of at most {most} samples")
    return np.frombuffer(part, dtype=_LITTLE_ENDIAN).astype(np.int16)


SOUND_CODECS = {
    "flac": SoundCodec(_as_flac, _of_flac),
    "int16": SoundCodec(_as_samples, _of_samples),
}


def encode_sound(windows: Sequence[np.ndarray], meta: StoreMeta) -> bytes:
    """Pack windows, each int16 [n] at the store's sample rate, into the value of one item."""
    codec = SOUND_CODECS[meta.codec]
    return joined([codec.encode(window, meta.sample_rate) for window in windows])


def decode_sound(value: bytes | memoryview, meta: StoreMeta) -> list[np.ndarray]:
    """Unpack the value of one item: its windows, each int16 of at most ``meta.window_samples``.

    Raises ``ValueError`` where the value is malformed.
    """
    codec = SOUND_CODECS[meta.codec]
    return [codec.decode(part, meta.window_samples) for part in parts_of(memoryview(value))]


def stacked(windows: Sequence[np.ndarray], samples: int) -> np.ndarray:
    """Windows as one array int16 [W, samples]: of a longer one the middle, zeros behind a shorter."""
    array = np.zeros((len(windows), samples), dtype=np.int16)
    for row, window in zip(array, windows, strict=True):
        start = max(len(window) - samples, 0) // 2
        part = window[start : start + samples]
        row[: len(part)] = part
    return array
