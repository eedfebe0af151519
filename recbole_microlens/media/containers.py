"""Opens a video file and nothing else: no playlist, no pattern of names, no address."""

from __future__ import annotations

import os
from pathlib import Path

import av

from recbole_microlens.media.limits import MAX_PIXELS, MAX_STREAMS, require_length, require_size
from recbole_microlens.media.timeline import MediaError

_DEMUXERS = (
    "mov", "matroska", "webm", "avi", "flv", "mpegts", "mpeg", "mpegvideo", "asf", "ogg", "mxf", "rm", "dv",
    "nut", "yuv4mpegpipe", "mjpeg", "m4v", "h264", "hevc", "ivf", "obu", "wtv", "gif",
)  # fmt: skip
"""What files of ``VIDEO_SUFFIXES`` are read by. None of them opens another file; those for playlists do."""

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


def open_video(path: Path, probe: bool = True) -> av.container.InputContainer:
    """Open a video file, whatever its name looks like; raises ``MediaError`` with the reason.

    FFmpeg decodes the first frames of each stream to learn what headers do not say. Without ``probe`` it
    decodes none, which for an mp4 saves nine tenths of the time: the index and the size of the pictures are
    known, their pixel format is not, and the order in which frames come out only where the headers say it.
    """
    try:
        # A name may look like an address, or like a pattern of names: http:x.mp4, concat:a|b.mp4.
        address, how = f"file:{os.path.abspath(path)}", {"options": _OPTIONS} if probe else _UNPROBED
        container = av.open(address, format=_format_of(path), **how)
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
