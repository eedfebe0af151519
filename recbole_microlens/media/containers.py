"""Opens a file of video or sound and nothing else: no playlist, no pattern of names, no address."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av

from recbole_microlens.media.limits import MAX_PIXELS, MAX_STREAMS, require_length, require_size
from recbole_microlens.media.timeline import MediaError

_DEMUXERS = (
    "mov", "matroska", "webm", "avi", "flv", "mpegts", "mpeg", "mpegvideo", "asf", "ogg", "mxf", "rm", "dv",
    "nut", "yuv4mpegpipe", "mjpeg", "m4v", "h264", "hevc", "ivf", "obu", "wtv", "gif",
)  # fmt: skip
"""What files of ``VIDEO_SUFFIXES`` are read by. None of them opens another file; those for playlists do."""

_SOUND_DEMUXERS = (*_DEMUXERS, "mp3", "wav", "w64", "flac", "aac")
"""What files of ``AUDIO_SUFFIXES`` are read by, and those of video, for their tracks."""

_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(_DEMUXERS),
    "max_streams": str(MAX_STREAMS + 1),  # of which one is too many
    "max_pixels": str(MAX_PIXELS),
}

_LISTS = {
    b"ffconcat": "ffconcat",
    b"#extm3u": "m3u8",
    b"<?xml": "XML",
    b"<mpd": "MPD",
    b"<asx": "ASX",
    b"<smil": "SMIL",
    b"[playlist]": "PLS",
    b"[reference]": "ASF reference",
    b"v=0": "SDP",
    b"rtsp://": "RTSP",
}
"""How files begin that only name other files or addresses, in small letters."""


_UNPROBED = {
    "options": {**_OPTIONS, "probesize": "2048"},
    "stream_options": [{"skip_frame": "all"}] * MAX_STREAMS,
}


MAX_SAMPLE_RATE = 768_000
NO_SOUND_TRACK = "no sound track"


def open_sound(path: Path) -> av.container.InputContainer:
    """Open a file of sound, or a video for its sound; raises ``MediaError`` with the reason.

    Of an mp4 nothing is decoded to open it: all that sound needs is in its headers.
    """
    probe = not is_iso_media(path)
    return _opened(path, {"format_whitelist": ",".join(_SOUND_DEMUXERS)}, probe)


def open_video(path: Path, probe: bool = True) -> av.container.InputContainer:
    """Open a video file, whatever its name looks like; raises ``MediaError`` with the reason.

    FFmpeg decodes the first frames of each stream to learn what headers do not say. Without ``probe`` it
    decodes none, which for an mp4 saves nine tenths of the time: the index and the size of the pictures are
    known, their pixel format is not, and the order in which frames come out only where the headers say it.
    """
    return _opened(path, {}, probe)


def _opened(path: Path, options: dict[str, str], probe: bool) -> av.container.InputContainer:
    how: dict[str, Any] = {"options": _OPTIONS} if probe else _UNPROBED
    how = {**how, "options": how["options"] | options}
    try:
        # A name may look like an address, or like a pattern of names: http:x.mp4, concat:a|b.mp4.
        container = av.open(f"file:{os.path.abspath(path)}", format=_format_of(path), **how)
    except (av.error.InvalidDataError, av.error.ArgumentError) as error:
        raise MediaError(_why_not(path)) from error
    try:
        require_length((container.duration or 0) / av.time_base, 0)
        if len(container.streams) > MAX_STREAMS:
            raise MediaError(f"has more than {MAX_STREAMS} streams")
    except MediaError:
        container.close()
        raise
    return container


def video_stream(container: av.container.InputContainer) -> av.VideoStream:
    """The first stream of moving pictures, ready to be decoded; raises ``MediaError`` where there is none."""
    for stream in container.streams.video:
        if stream.disposition & type(stream.disposition).attached_pic:
            continue
        codec = stream.codec_context
        if codec is None:
            raise MediaError("no decoder for its video codec")
        require_size(codec.width, codec.height)
        require_length(0, len(stream.index_entries))
        codec.options = {"max_pixels": str(MAX_PIXELS)}  # a stream may turn larger than its header says
        codec.thread_count = 1  # a build runs one process per core
        return stream
    raise MediaError("no video stream")


def sound_stream(container: av.container.InputContainer) -> av.AudioStream:
    """The first stream of sound, ready to be decoded; raises ``MediaError`` where there is none."""
    if not container.streams.audio:
        raise MediaError(NO_SOUND_TRACK)
    stream = container.streams.audio[0]
    codec = stream.codec_context
    if codec is None:
        raise MediaError("no decoder for its sound")
    if codec.sample_rate and codec.sample_rate > MAX_SAMPLE_RATE:
        raise MediaError(f"its sound says it has {codec.sample_rate:,} samples a second")
    codec.thread_count = 1  # a build runs one process per core
    return stream


def is_iso_media(path: Path) -> bool:
    """Whether a file is an mp4, mov, m4v or 3gp, by its first bytes."""
    return _first_bytes(path)[4:8] == b"ftyp"


def _format_of(path: Path) -> str | None:
    """A GIF by its first bytes, because its suffix alone is one of image files that come in numbers."""
    return "gif" if _first_bytes(path).startswith(b"GIF8") else None


def _why_not(path: Path) -> str:
    head = _first_bytes(path)
    if is_iso_media(path):
        return "truncated: an mp4 without its index (moov)"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    listed = next((name for start, name in _LISTS.items() if text.startswith(start)), None)
    return f"not a video but a list ({listed}): no other file is opened for it" if listed else "not a video"


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
