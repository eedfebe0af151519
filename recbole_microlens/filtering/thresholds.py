"""The rules, their thresholds, and where each comes from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from recbole_microlens.errors import MicroLensError

MOST_DUPLICATE_BITS = 16
"""Of the 64 bits of a frame: beyond a quarter of them, different videos become alike."""


@dataclass(frozen=True)
class Thresholds:
    """What is dropped; None where a rule is off, as all are by default.

    The quotations are from "Data Filtering", section 2.1 of arXiv 2309.15379.

    Attributes
    ----------
    min_title_length : int | None
        Characters, letters and digits of any script alone. The paper: "the length of the video titles, after
        removing meaningless characters, should not be less than 3". Which characters are meaningless it does
        not say; that all but letters, digits and the marks on them are, is ours.
    max_cover_single_colour : float | None
        The largest share of a cover's pixels that may be of one colour. The paper: "we used color uniformity
        checks and removed images with single-color areas greater than 75%". What is one colour it does not
        say: see :func:`~recbole_microlens.filtering.pictures.single_colour_share`.
    max_video_single_colour : float | None
        The same of a video, of all of whose frames that are looked at the share must be larger. Ours: the
        paper looks at the size of a video alone.
    min_cover_bytes : int | None
        The smallest file of a cover. Ours.
    min_video_bytes : int | None
        The smallest file of a video. The paper: "removed any videos with a file size of less than 100KB".
    duplicate_bits : int | None
        How many of the 64 bits of a frame's perceptual hash may differ, on average over the frames that are
        looked at, for two videos to be near-duplicates, of which the one with most interactions is kept.
        Ours: the paper speaks of "a data filtering process to remove a large number of duplicates", and not
        of how.
    min_user_clicks : int | None
        The fewest interactions of a user, after items were dropped. Ours; a run drops users with fewer than
        five by itself (``user_inter_num_interval``).
    max_clicks_per_minute : int | None
        The most interactions of a user within any 60 seconds, before items were dropped; more are not a
        person's. Ours.
    """

    min_title_length: int | None = None
    max_cover_single_colour: float | None = None
    max_video_single_colour: float | None = None
    min_cover_bytes: int | None = None
    min_video_bytes: int | None = None
    duplicate_bits: int | None = None
    min_user_clicks: int | None = None
    max_clicks_per_minute: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.on().items():
            share = name.endswith("single_colour")
            if not math.isfinite(value) or value < 0 or (share and value >= 1):
                raise MicroLensError(
                    f"{option(name)} {value}: give "
                    f"{'a share from 0 up to, not including, 1' if share else '0 or more'}."
                )
        if self.duplicate_bits is not None and self.duplicate_bits > MOST_DUPLICATE_BITS:
            raise MicroLensError(
                f"{option('duplicate_bits')} {self.duplicate_bits}: give 0 to {MOST_DUPLICATE_BITS}; "
                "beyond, different videos are taken for one."
            )

    def on(self) -> dict[str, float]:
        """The rules that are on, with their thresholds."""
        return {name: value for name, value in asdict(self).items() if value is not None}


PAPER = {"min_title_length": 3, "max_cover_single_colour": 0.75, "min_video_bytes": 100_000}
"""The rules of the paper that state a threshold. Its KB is taken for 1,000 bytes."""


def option(name: str) -> str:
    """A rule as the command line spells it."""
    return f"--{name.replace('_', '-')}"
