"""The sub-command ``frames``: videos, or ready frames, into ``video.lmdb``."""

from __future__ import annotations

import argparse

from recbole_microlens.cli import media
from recbole_microlens.media.suffixes import VIDEO_SUFFIXES

HELP = "build video.lmdb from videos, or from ready frames"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``frames`` to its parser."""
    parser.epilog = (
        "Videos are <item> and one of " + " ".join(VIDEO_SUFFIXES) + "; ready frames are <item>-<k>.jpg."
    )
    parser.add_argument("--num-frames", type=int, default=5, help="frames of an item (default 5)")
    parser.add_argument(
        "--interval", type=int, default=1, help="distance between the frames in the video (default 1)"
    )
    parser.add_argument(
        "--spread",
        choices=("middle", "uniform"),
        default="middle",
        help="frames around the middle of the video (default), or spread evenly over all of it",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="frames that begin at the nearest key frame: several times as fast, other frames",
    )
    media.add_pictures(parser)
    media.add_arguments(parser)


def call(arguments: argparse.Namespace) -> int:
    """Build ``video.lmdb``, and print what it holds and what is missing."""
    from recbole_microlens.media.build import build_frames

    options = {"num_frames": arguments.num_frames, "interval": arguments.interval}
    options |= {"size": arguments.size, "quality": arguments.quality}
    options |= {"approximate": arguments.approximate, "spread": arguments.spread}
    return media.build_store(arguments, build_frames, ("videos", "frames"), "video", **options)
