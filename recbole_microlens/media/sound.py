"""Read windows of sound, of a file of it or of a video's own track, as int16 at one sample rate."""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np

from recbole_microlens.media.containers import is_iso_media, open_sound, sound_stream
from recbole_microlens.media.decode import require_content
from recbole_microlens.media.timeline import MediaError

SILENT = 32
"""A track is silent whose every sample is at most this, of 32768: 60 dB below the loudest there is."""

SILENT_REASON = "silent: nothing in its windows is louder than -60 dB"
_EARLIER_SECONDS = 0.25
"""Decoding begins so much before a window: what a lossy codec gives depends on the packets before it."""

_AROUND_SECONDS = 0.05
"""A window is resampled with so much of what is beside it."""

_JUMP_SECONDS = 0.1
"""A gap, or an overlap, of time stamps that is not their rounding."""


def starts_of(total: float, seconds: float, windows: int) -> list[float]:
    """Where the windows of a track begin, in seconds.

    The track is parted into as many equal parts as there are windows, and each window lies around the middle
    of its part, as far as the track reaches: one lies around the middle of the track. If they do not fit
    beside each other they overlap, and of a track shorter than a window each is the whole.
    """
    last = max(total - seconds, 0.0)
    return [min(max((k + 0.5) * total / windows - seconds / 2, 0.0), last) for k in range(windows)]


def read_windows(
    path: str | Path, sample_rate: int = 16_000, seconds: float = 10.0, windows: int = 1
) -> list[np.ndarray]:
    """Decode windows of the first sound track of a file, mixed to one channel and resampled.

    Of an mp4 (mov, m4a) only what is around the windows is decoded, of all others the whole track.

    Parameters
    ----------
    path : str | Path
        A video, or a file of sound.
    sample_rate : int
        Samples a second of what is returned.
    seconds : float
        Length of a window.
    windows : int
        How many; see :func:`starts_of`.

    Returns
    -------
    list of np.ndarray
        Each int16 of ``seconds * sample_rate`` samples, or fewer where the track is shorter.

    Raises
    ------
    MediaError
        The file is missing, empty, no media or damaged, has no sound track, or its windows are silent.
    """
    path = Path(path)
    require_content(path)
    try:
        found = _read(path, sample_rate, seconds, windows)
    except MemoryError:  # PyAV's is an FFmpegError too
        raise
    except (av.FFmpegError, OSError, ValueError) as error:  # ValueError: the track changes its format
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"its sound cannot be decoded ({reason}): truncated or damaged") from error
    if not any(len(window) for window in found):
        raise MediaError("its sound track is empty")
    if max(int(np.abs(window.astype(np.int32)).max(initial=0)) for window in found) <= SILENT:
        raise MediaError(SILENT_REASON)
    return found


def _read(path: Path, sample_rate: int, seconds: float, windows: int) -> list[np.ndarray]:
    with open_sound(path) as container:
        stream = sound_stream(container)
        total = _indexed_seconds(stream) if is_iso_media(path) else 0.0
        if not total:
            track = _Track(container, stream)
            total = len(track.samples) / track.rate
            return [track.window(start, seconds, sample_rate) for start in starts_of(total, seconds, windows)]
        starts = starts_of(total, seconds, windows)
        found: dict[float, np.ndarray] = {}
        for start in dict.fromkeys(starts):
            track = _Track(container, stream, start, min(start + seconds, total))
            found[start] = track.window(start, seconds, sample_rate)
            if len(found[start]) < min(seconds, total) * sample_rate / 2:
                raise MediaError("truncated: its sound ends before the wanted windows")
        return [found[start] for start in starts]


def _indexed_seconds(stream: av.AudioStream) -> float:
    """How long a track is, as its container says; 0 where it does not."""
    return float((stream.duration or 0) * (stream.time_base or 0))


class _Track:
    """The samples of a track, or of what is around some seconds of it, int16 of one channel as it is sampled.

    Attributes
    ----------
    samples : np.ndarray [n], int16
    rate : int
        Samples a second.
    first : int
        Which sample of the track the first is.
    """

    def __init__(self, container, stream, start: float | None = None, stop: float = math.inf):
        self.rate, self.first = 1, 0
        zero = (stream.start_time or 0) * stream.time_base
        if start is not None:
            earlier = max(start - _EARLIER_SECONDS, 0.0)
            container.seek(int((float(zero) + earlier) / stream.time_base), stream=stream)
        parts: list[np.ndarray] = []
        place = 0  # the sample behind the last
        for frame in container.decode(stream):
            if not parts:
                self.rate = frame.sample_rate  # which the header of a track need not say
                mixer = av.AudioResampler(format="s16", layout="mono", rate=self.rate)
            at = place if frame.pts is None else round((frame.pts * stream.time_base - zero) * self.rate)
            frame.pts = None
            mixed = _joined(mixer.resample(frame))
            if not parts:
                self.first = place = at
            elif at - place > _JUMP_SECONDS * self.rate:
                parts.append(np.zeros(min(at - place, 60 * self.rate), dtype=np.int16))
                place = at
            parts.append(mixed)
            place += len(mixed)
            if place > (stop + _AROUND_SECONDS) * self.rate:
                break
        self.samples = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int16)

    def window(self, start: float, seconds: float, sample_rate: int) -> np.ndarray:
        """Resampled samples from ``start`` on, int16 [at most seconds * sample_rate].

        A cut begins at a sample that is one of the resampled track too, so that a window does not depend on
        what of the track was decoded.
        """
        common = math.gcd(self.rate, sample_rate)
        step, step_out = self.rate // common, sample_rate // common
        begin = round(start * sample_rate)  # as samples of the resampled track
        length = round(seconds * sample_rate)
        around = math.ceil(_AROUND_SECONDS * sample_rate / step_out)
        cut = max(begin // step_out - around, -(-self.first // step), 0)
        stop = -(-(begin + length) * step // step_out) + around * step
        part = self.samples[max(cut * step - self.first, 0) : max(stop - self.first, 0)]
        resampled = part if step == step_out else _resampled(part, self.rate, sample_rate)
        offset = begin - cut * step_out
        return resampled[max(offset, 0) : max(offset, 0) + length]


def _resampled(samples: np.ndarray, rate: int, sample_rate: int) -> np.ndarray:
    if not len(samples):
        return samples
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=sample_rate)
    return _joined([*resampler.resample(frame), *resampler.resample(None)])


def _joined(frames: list[av.AudioFrame]) -> np.ndarray:
    parts = [frame.to_ndarray()[0] for frame in frames]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int16)
