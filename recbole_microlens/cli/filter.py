"""The sub-command ``filter``: its options, and what it prints."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from recbole_microlens.errors import MicroLensError

HELP = "drop items and users of a release by the content filters of the paper's data section"
_SIZE = re.compile(r"(\d{1,15})\s*(|k|m|g|ki|mi|gi)b?", re.ASCII | re.IGNORECASE)
_TIMES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``filter`` to its parser."""
    parser.add_argument("release", type=Path, help="folder of a release, or a log file")
    parser.add_argument(
        "--out", type=Path, required=True, help="the new release, a folder that is not there yet"
    )
    rules = parser.add_argument_group("rules, each of them off unless it is named")
    rules.add_argument(
        "--paper",
        action="store_true",
        help="the paper's: --min-title-length 3 --max-cover-single-colour 0.75 --min-video-bytes 100KB",
    )
    rules.add_argument(
        "--min-title-length", type=int, metavar="N", help="letters and digits of a title (paper: 3)"
    )
    rules.add_argument(
        "--max-cover-single-colour", type=float, metavar="SHARE", help="of a cover's pixels (paper: 0.75)"
    )
    rules.add_argument(
        "--max-video-single-colour", type=float, metavar="SHARE", help="the same of a video's frames"
    )
    rules.add_argument("--min-cover-bytes", metavar="SIZE", help="size of a cover's file, e.g. 5KB")
    rules.add_argument("--min-video-bytes", metavar="SIZE", help="size of a video's file (paper: 100KB)")
    rules.add_argument(
        "--duplicate-bits",
        type=int,
        metavar="N",
        help="drop videos whose perceptual hash differs in at most N of 64 bits from a kept one's, e.g. 4",
    )
    rules.add_argument("--min-user-clicks", type=int, metavar="N", help="fewest interactions of a user")
    rules.add_argument(
        "--max-clicks-per-minute",
        type=int,
        metavar="N",
        help="most interactions of a user within 60 s, e.g. 30",
    )
    parser.add_argument(
        "--media",
        default="hardlink",
        help="how covers and videos come into the new release: hardlink (default) or symlink",
    )
    parser.add_argument("--columns", help="name the columns of a log, as for convert")
    parser.add_argument("--skip-bad-rows", action="store_true", help="leave out rows that cannot be read")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")


def call(arguments: argparse.Namespace) -> int:
    """Filter, and print how much each rule dropped."""
    from recbole_microlens.cli.convert import parse_columns
    from recbole_microlens.filtering.filter import filter_release
    from recbole_microlens.filtering.report import ITEMS
    from recbole_microlens.filtering.thresholds import PAPER, Thresholds

    own = {name: getattr(arguments, name) for name in Thresholds.__dataclass_fields__}
    for name in ("min_cover_bytes", "min_video_bytes"):
        own[name] = parse_size(own[name], f"--{name.replace('_', '-')}")
    given = {name: value for name, value in own.items() if value is not None}
    report = filter_release(
        arguments.release,
        arguments.out,
        Thresholds(**((PAPER if arguments.paper else {}) | given)),
        arguments.media,
        parse_columns(arguments.columns or ""),
        arguments.skip_bad_rows,
        arguments.workers,
    )
    print(report.text())
    source = arguments.out / arguments.release.name if arguments.release.is_file() else arguments.out
    print(
        f"The dropped items: {arguments.out / ITEMS}. Next: recbole-microlens convert {source} --dataset NAME"
    )
    return 0


def parse_size(text: str | None, option: str) -> int | None:
    """``100KB`` as 100,000, ``100KiB`` as 102,400, a number as bytes.

    Raises
    ------
    MicroLensError
        It is none of these.
    """
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise MicroLensError(f"{option} {text}: give bytes, or a size such as 100KB or 1MiB.")
    return int(found[1]) * _TIMES[found[2].lower()]
