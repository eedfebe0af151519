"""Which presentation time (pts) each wanted frame of a video has, found without decoding anything.

A frame is meant by its ordinal in display order, never by ``time * fps``: in a video of variable frame rate
the two differ. Packets come in decoding order, so pts are sorted before they are counted.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

import av

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.random_access import RANDOM_ACCESS_CODECS, starts_afresh

MAX_REORDERED_FRAMES = 16
"""The furthest a codec may move a frame between decoding and display order (H.264 and HEVC: 16 pictures)."""

MAX_KEPT_BYTES = 1 << 26
"""Packets that were read to locate the frames are kept to be decoded, unless they are larger together."""

FURTHEST_KEY_FRAME = 250
"""How many frames away a key frame may lie to stand for a wanted frame; x264's distance of key frames."""


class MediaError(MicroLensError):
    """A video or image that cannot be read; the message is the reason alone, callers add the file."""


@dataclass(frozen=True)
class WantedFrames:
    """The frames to decode: ordinals in display order, and pts (None where the container has none).

    ``runs`` are packets of the stream, in decoding order: each run begins at a key frame, can be decoded
    without the others, and ends with the last wanted frame that depends on that key frame. None where they
    were not kept.
    """

    ordinals: list[int]
    pts: list[int] | None
    runs: list[list[av.Packet]] | None = None


@dataclass(frozen=True)
class _Index:
    """The frames that an mp4 lists and shows: their number, the places of the key frames, all times of
    decoding and the place of each; ``delay`` is how much later the first is shown than it is decoded.
    """

    total: int
    keys: list[int]
    times: list[int]
    place_of: dict[int, int]
    delay: int

    @classmethod
    def of(cls, stream: av.VideoStream) -> "_Index":
        shown = [
            (entry.timestamp, entry.is_keyframe) for entry in stream.index_entries if not entry.is_discard
        ]
        times = [time for time, _ in shown]
        keys = [place for place, (_, is_key) in enumerate(shown) if is_key]
        delay = max(0, (stream.start_time or 0) - times[0]) if times else 0
        return cls(len(times), keys, times, {time: place for place, time in enumerate(times)}, delay)


def has_index(stream: av.VideoStream) -> bool:
    """Whether the container lists every frame of the stream, as an mp4 does that is not in fragments."""
    return stream.frames > 0 and stream.frames == len(stream.index_entries)


def locate_frames(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    select: Callable[[int], list[int]],
    from_key_frame: bool = False,
) -> WantedFrames:
    """Find the frames that ``select(total_frames)`` names, by their ordinals in display order.

    An mp4 carries an index of all its samples, so only the packets around the wanted frames are read, and of
    frames that lie far apart only those from the key frame before each. Any other container (and an mp4 in
    fragments) is read through once; the packets are not decoded.

    With ``from_key_frame`` all wanted frames are moved by the same number, so that the first is the key frame
    nearest to it, unless that is more than :data:`FURTHEST_KEY_FRAME` frames away.

    Raises ``MediaError`` where the stream has no frames or ends before the wanted ones.
    """
    if has_index(stream):
        index = _Index.of(stream)
        ordinals = _ordinals(select, index.total)
        found = None if from_key_frame else _located_apart(container, stream, index, ordinals)
        if found is None:
            found = _located_near(container, stream, index, ordinals, from_key_frame)
        if found is not None:
            return found
        container.seek(index.times[0], stream=stream)
    return _locate_by_reading_all(container, stream, select, from_key_frame)


def _ordinals(select: Callable[[int], list[int]], total: int) -> list[int]:
    if not total:
        raise MediaError("the video stream has no frames")
    return select(total)


def _nearest_key(keys: Iterable[int], ordinals: list[int], total: int) -> int | None:
    """Of the places of key frames the one to start from in the place of the first wanted frame, if any."""
    first, span = min(ordinals), max(ordinals) - min(ordinals)
    fitting = [key for key in keys if key + span < total]
    best = min(fitting, key=lambda key: abs(key - first), default=None)
    return best if best is not None and abs(best - first) <= FURTHEST_KEY_FRAME else None


def _moved(ordinals: list[int], to: int, total: int) -> list[int]:
    distance = to - min(ordinals)
    return [min(ordinal + distance, total - 1) for ordinal in ordinals]


def _located_apart(container, stream, index: _Index, ordinals: list[int]) -> WantedFrames | None:
    """The wanted frames by the packets around each group of pictures that holds some of them; None where they
    cannot be told from these, or lie in one group, or where decoding may not begin at each.

    No more is decoded than on the way from the first to the last: what lies between a wanted frame and the
    key frame before the next is left out.
    """
    by_key_frame = groupby(sorted(set(ordinals)), lambda ordinal: bisect_right(index.keys, ordinal))
    together = [list(some) for _, some in by_key_frame]
    codec = stream.codec_context
    if len(together) < 2 or codec.name not in RANDOM_ACCESS_CODECS:
        return None
    pts: dict[int, int] = {}
    runs: list[list[av.Packet]] = []
    for some in together:
        found = _located_near(container, stream, index, some, False)
        if found is None or found.pts is None or found.runs is None:
            return None
        (run,) = found.runs
        if runs and run[0].dts == runs[-1][0].dts:  # leading frames, which need the group before too
            runs.pop()
        elif runs and not starts_afresh(run[0], codec.name, codec.extradata):
            return None
        pts |= dict(zip(some, found.pts, strict=True))
        runs.append(run)
        if sum(packet.size for run in runs for packet in run) > MAX_KEPT_BYTES:
            return None
    return WantedFrames(ordinals, [pts[ordinal] for ordinal in ordinals], runs)


def _located_near(
    container, stream, index: _Index, ordinals: list[int], from_key_frame: bool
) -> WantedFrames | None:
    """The wanted frames by the packets around them; None if they cannot be told from these.

    Everything that is decoded before a key frame is also shown before it, so the key frame at position p of
    the index has ordinal p, plus the number of leading frames (open GOP) that follow it in the file and are
    shown before it. If the first wanted frame is one of these, it belongs to the key frame before.
    """
    keys, total = index.keys, index.total
    nearest = _nearest_key(keys, ordinals, total) if from_key_frame else None
    if nearest is not None:
        ordinals = _moved(ordinals, nearest, total)
    last = bisect_right(keys, min(ordinals)) - 1
    for number in range(last, max(last - 2, -1), -1):
        # A key frame has its ordinal, and those after it theirs, once its leading frames are counted.
        ahead = MAX_REORDERED_FRAMES * (1 if nearest is None else 2)
        end = min(max(ordinals) + 1 + ahead, total)
        found = _packets_from(container, stream, index, keys[number : number + 2], end)
        if found is None:
            return None
        ordinal_of_key, packets, shown = found
        if nearest is not None and keys[number] == nearest:
            ordinals = _moved(ordinals, ordinal_of_key, total)
        if ordinal_of_key <= min(ordinals):
            pts = [shown[ordinal - ordinal_of_key] for ordinal in ordinals]
            needed = _needed_packets(packets, pts)
            return WantedFrames(ordinals, pts, None if needed is None else [needed])
    return None


def _packets_from(
    container, stream, index: _Index, keys: list[int], end: int
) -> tuple[int, list[av.Packet], list[int]] | None:
    """What lies from the first of two neighbouring key frames, or one before it, to the place ``end``.

    The ordinal of the first frame, the packets, and the pts of the frames in the order of display.
    None where the packets are not those of the index.
    """
    _seek(container, stream, index, keys)
    start, packets = None, []
    pts: list[int] = []
    for packet in container.demux(stream):
        if packet.dts is None or packet.pts is None:
            break
        packets.append(packet)
        if packet.is_discard:
            continue
        if start is None:
            start = index.place_of.get(packet.dts)
            if start is None:
                return None
        pts.append(packet.pts)
        if start + len(pts) >= end:
            break
    if start is None or start + len(pts) < end:
        raise MediaError("truncated: the file ends before the wanted frames")
    shown = sorted(time for time in pts if time >= pts[0])
    return start + len(pts) - len(shown), packets, shown


def _seek(container, stream, index: _Index, keys: list[int]) -> None:
    """Go to the first of two key frames of the index, whose times are those of decoding, where FFmpeg is told
    times of display.
    """
    target = index.times[keys[0]] + index.delay
    if len(keys) > 1:
        target = min(target, index.times[keys[1]] - 1)
    container.seek(target, stream=stream)


def _needed_packets(packets: list[av.Packet], pts: list[int]) -> list[av.Packet] | None:
    """The packets from the last key frame before the wanted frames to the last that holds one of them; None
    where they are too large to be kept.
    """
    wanted, first = set(pts), min(pts)
    last = max(place for place, packet in enumerate(packets) if packet.pts in wanted)
    keys = (
        place for place, packet in enumerate(packets) if packet.is_keyframe and (packet.pts or 0) <= first
    )
    needed = packets[max(keys, default=0) : last + 1]
    return needed if sum(packet.size for packet in needed) <= MAX_KEPT_BYTES else None


def _locate_by_reading_all(
    container, stream, select: Callable[[int], list[int]], from_key_frame: bool
) -> WantedFrames:
    pts, keys, seconds = [], set(), 0.0
    for packet in container.demux():
        if packet.dts is None and packet.pts is None and not packet.size:
            continue
        time = packet.pts if packet.pts is not None else packet.dts
        if time is not None:
            seconds = max(seconds, float((time + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index == stream.index and not packet.is_discard:
            pts.append(packet.pts)
            if packet.is_keyframe:
                keys.add(packet.pts)
    _check_duration(container, seconds)
    ordinals = _ordinals(select, len(pts))
    if None in pts:
        return WantedFrames(ordinals, None)
    pts.sort()
    places = (place for place, time in enumerate(pts) if time in keys)
    start_from = _nearest_key(places, ordinals, len(pts)) if from_key_frame else None
    if start_from is not None:
        ordinals = _moved(ordinals, start_from, len(pts))
    return WantedFrames(ordinals, [pts[ordinal] for ordinal in ordinals])


def _check_duration(container, end_seconds: float) -> None:
    """A file cut short would otherwise give, unnoticed, the middle of what is left of it."""
    if container.duration is None:
        return
    start = container.start_time or 0
    promised = (start + container.duration) / av.time_base
    if end_seconds < promised - max(1.0, 0.02 * promised):
        raise MediaError(f"truncated: the file ends at {end_seconds:.1f} s, its header says {promised:.1f} s")
