"""Which frames of a video a store takes, and which of these a model with fewer frames looks at."""

from collections.abc import Callable
from dataclasses import dataclass

from recbole_microlens.media.store_meta import StoreMeta


def select_indices(total_frames: int, num_frames: int, interval: int) -> list[int]:
    """Ordinals, in display order, of the frames to take from the middle of a video.

    The span of ``(num_frames - 1) * interval`` frames is centred: an odd number has the middle frame
    ``total_frames // 2`` at its centre, an even number the two middle ones (at interval 1) and outwards. A
    video shorter than the span gives its frames from the first on, and repeats its last: 3 frames asked for 5
    at interval 1 give 0, 1, 2, 2, 2.

    Raises ``ValueError`` for an argument below 1.
    """
    if min(total_frames, num_frames, interval) < 1:
        raise ValueError(f"below 1: {total_frames=}, {num_frames=}, {interval=}")
    span = (num_frames - 1) * interval
    start = max(0, total_frames // 2 - (span + 1) // 2)
    return [min(start + k * interval, total_frames - 1) for k in range(num_frames)]


def spread_evenly(total: int, wanted: int) -> list[int]:
    """Numbers of frames at the centres of ``wanted`` equal parts of ``total`` frames.

    The centre of part k is at ``(k + 1/2) total / wanted``, of which the whole number is taken: 4 of 10 are
    1, 3, 6, 8, one of them is the middle one, ``total // 2``, and all of them are all. Where there are fewer
    than wanted, some stand more than once. The parts are the segments of Temporal Segment Networks (Wang et
    al., https://arxiv.org/abs/1608.00859).

    Raises ``ValueError`` for an argument below 1.
    """
    if min(total, wanted) < 1:
        raise ValueError(f"below 1: {total=}, {wanted=}")
    return [(2 * part + 1) * total // (2 * wanted) for part in range(wanted)]


def middle_of(total: int, wanted: int) -> list[int]:
    """Numbers of the middle ``wanted`` of ``total`` frames, which are no fewer."""
    first = (total - wanted) // 2
    return list(range(first, first + wanted))


@dataclass(frozen=True)
class Spread:
    """A way to take frames.

    Attributes
    ----------
    of_video : callable
        ``(frames of the video, number wanted, interval) -> ordinals``.
    of_store : callable
        ``(frames stored, number wanted) -> their numbers in the store``.
    in_words : str
        What ``of_video`` does, to a person who has to do it again.
    """

    of_video: Callable[[int, int, int], list[int]]
    of_store: Callable[[int, int], list[int]]
    in_words: str


SPREADS = {
    "middle": Spread(
        select_indices,
        middle_of,
        "{num_frames} frames, {interval} apart, centred on frame total // 2, and of these the middle ones; a "
        "video that is too short repeats its last frame",
    ),
    "uniform": Spread(
        lambda total, wanted, interval: spread_evenly(total, wanted),
        spread_evenly,
        "of {num_frames} equal parts of the video the frames at their centres, (2 k + 1) total // "
        "(2 {num_frames}), and of n of these the same of their number",
    ),
}


def frames_of_clip(stored: StoreMeta, num_frames: int) -> list[int]:
    """Which frames of a store a clip of ``num_frames`` consists of: as the store's own frames lie in the
    video, so these lie among them. They depend on both numbers alone.
    """
    return SPREADS[stored.spread].of_store(stored.num_frames, num_frames)
