"""Which presentation time (pts) each wanted frame of a video has, found without decoding anything.

A frame is meant by its ordinal in display order, never by ``time * fps``: in a video of variable frame rate
the two differ. Packets come in decoding order, so pts are sorted before they are counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import av

from recbole_microlens.errors import MicroLensError

MAX_REORDERED_FRAMES = 16
"""The furthest a codec may move a frame between decoding and display order (H.264 and HEVC: 16 pictures)."""


class MediaError(MicroLensError):
    """A video or image that cannot be read; the message is the reason alone, callers add the file."""


@dataclass(frozen=True)
class WantedFrames:
    """The frames to decode: ordinals in display order, and pts (None where the container has none)."""

    ordinals: list[int]
    pts: list[int] | None


def locate_frames(
    container: av.container.InputContainer, stream: av.VideoStream, select: Callable[[int], list[int]]
) -> WantedFrames:
    """Find the frames that ``select(total_frames)`` names, by their ordinals in display order.

    An mp4 carries an index of all its samples, so only the packets around the wanted frames are read. Any
    other container (and an mp4 in fragments) is read through once; the packets are not decoded.

    Raises ``MediaError`` where the stream has no frames or ends before the wanted ones.
    """
    entries = list(stream.index_entries)
    if stream.frames and stream.frames == len(entries):
        shown = [entry for entry in entries if not entry.is_discard]
        ordinals = _ordinals(select, len(shown))
        pts = _pts_near(container, stream, shown, ordinals)
        if pts is not None:
            return WantedFrames(ordinals, pts)
        container.seek(shown[0].timestamp, stream=stream)
    return _locate_by_reading_all(container, stream, select)


def _ordinals(select: Callable[[int], list[int]], total: int) -> list[int]:
    if not total:
        raise MediaError("the video stream has no frames")
    return select(total)


def _pts_near(container, stream, entries, ordinals: list[int]) -> list[int] | None:
    """Pts of the wanted frames from the packets around them; None if that key frame is not a starting point.

    Everything that is decoded before a key frame is also shown before it, so the key frame at position p of
    the index has ordinal p, plus the number of leading frames (open GOP) that follow it in the file and are
    shown before it.
    """
    first, last = min(ordinals), max(ordinals)
    key = max((i for i in range(first + 1) if entries[i].is_keyframe), default=0)
    container.seek(entries[key].timestamp, stream=stream)
    end = min(last + 1 + MAX_REORDERED_FRAMES, len(entries))
    position = {entry.timestamp: i for i, entry in enumerate(entries)}
    start, pts = None, []
    for packet in container.demux(stream):
        if packet.dts is None or packet.pts is None:
            break
        if packet.is_discard:
            continue
        if start is None:
            start = position.get(packet.dts)
            if start is None:
                return None
        pts.append(packet.pts)
        if start + len(pts) >= end:
            break
    if start is None or start + len(pts) < end:
        raise MediaError("truncated: the file ends before the wanted frames")
    shown = sorted(time for time in pts if time >= pts[0])
    ordinal_of_key = start + len(pts) - len(shown)
    if ordinal_of_key > first:
        return None
    return [shown[ordinal - ordinal_of_key] for ordinal in ordinals]


def _locate_by_reading_all(container, stream, select: Callable[[int], list[int]]) -> WantedFrames:
    pts, seconds = [], 0.0
    for packet in container.demux():
        if packet.dts is None and packet.pts is None and not packet.size:
            continue
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            seconds = max(seconds, float((time + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index == stream.index and not packet.is_discard:
            pts.append(packet.pts)
    _check_duration(container, seconds)
    ordinals = _ordinals(select, len(pts))
    if None in pts:
        return WantedFrames(ordinals, None)
    pts.sort()
    return WantedFrames(ordinals, [pts[ordinal] for ordinal in ordinals])


def _check_duration(container, end_seconds: float) -> None:
    """A file cut short would otherwise give, unnoticed, the middle of what is left of it."""
    if container.duration is None:
        return
    start = container.start_time or 0
    promised = (start + container.duration) / av.time_base
    if end_seconds < promised - max(1.0, 0.02 * promised):
        raise MediaError(f"truncated: the file ends at {end_seconds:.1f} s, its header says {promised:.1f} s")
