"""The sub-command ``convert``: its options, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.options import add_data_path, add_dataset, parse_size
from recbole_microlens.errors import MicroLensError, did_you_mean

HELP = "convert a release folder, or a log, to RecBole atomic files"
_ROLES = ("user", "item", "time", "event")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``convert`` to its parser."""
    parser.add_argument(
        "release",
        type=Path,
        help="folder of a MicroLens release, or a log file of any name (.csv, .tsv, .parquet, .gz, .zst)",
    )
    add_dataset(parser)
    add_data_path(parser)
    parser.add_argument(
        "--columns",
        help="name the columns of a log if they are not recognised, e.g. "
        "user=who,item=clip,time=at,event=kind",
    )
    parser.add_argument("--events", help="the kinds of events that count, e.g. play,like (default: all)")
    parser.add_argument(
        "--repeats",
        choices=("first", "last", "keep"),
        default="first",
        help="which of several rows of one user and item are kept (default: first, the earliest)",
    )
    parser.add_argument(
        "--latest", type=int, metavar="N", help="keep each user's latest N interactions (default: all)"
    )
    parser.add_argument(
        "--memory",
        type=parse_size,
        default=parse_size("2GB"),
        metavar="SIZE",
        help="memory to use at most, e.g. 8GB (default 2GB); a larger table is sorted by way of files",
    )
    parser.add_argument(
        "--atomic",
        action=argparse.BooleanOptionalAction,
        help="write RecBole's atomic files (default: up to 20 million interactions)",
    )
    parser.add_argument(
        "--store",
        action=argparse.BooleanOptionalAction,
        help="write a sequence store, which runs read in little memory (default: where there are no atomic "
        "files)",
    )
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="leave out and list rows that cannot be read"
    )


def call(arguments: argparse.Namespace) -> int:
    """Convert, and print what was read, written and left out."""
    from recbole_microlens.release.atomic import convert

    done = convert(
        arguments.release,
        arguments.dataset,
        arguments.data_path,
        arguments.skip_bad_rows,
        parse_columns(arguments.columns or ""),
        tuple(kind.strip() for kind in (arguments.events or "").split(",") if kind.strip()),
        arguments.repeats,
        arguments.latest,
        arguments.memory,
        arguments.atomic,
        arguments.store,
    )
    print(done.report())
    return 0


def parse_columns(text: str) -> dict[str, str]:
    """``user=user_id,item=video_id`` as a dict.

    Raises
    ------
    MicroLensError
        A part has no ``=``, an unknown left side, or one that is given twice.
    """
    columns: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        role, equals, name = (piece.strip() for piece in part.partition("="))
        if role not in _ROLES or not equals or not name:
            raise MicroLensError(
                f"--columns {text}: {part!r} is not understood.{did_you_mean(role, _ROLES)} Write "
                "user=NAME,item=NAME,time=NAME and, where there is one, event=NAME."
            )
        if role in columns:
            raise MicroLensError(f"--columns {text}: {role} is given twice. Keep one.")
        columns[role] = name
    return columns
