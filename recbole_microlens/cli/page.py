"""The sub-command ``page``: what a run recommends to some users, and where new videos land, as one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.errors import MicroLensError

HELP = "write one page that shows what a run recommends, and where new videos land"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``page`` to its parser."""
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument(
        "--users",
        default="12",
        help="how many are drawn, always alike, of those with a test target; or their ids, with commas "
        "between them, a single one with a comma behind it (default 12)",
    )
    parser.add_argument(
        "--new-videos",
        type=Path,
        metavar="PATH",
        help="new items, which are ranked as well: a file, or a folder of <id>.mp4, <id>.jpg and titles.csv, "
        "as far as the model looks at them",
    )
    parser.add_argument(
        "--cold",
        choices=["content"],
        help="let a model that also knows items by id rank new ones by their content alone",
    )
    parser.add_argument("-k", type=int, default=10, help="recommendations for each user (default 10)")
    parser.add_argument(
        "--data-path",
        "--data_path",
        type=Path,
        help="folder of all datasets, for the pictures (default: the one that the run was given)",
    )
    parser.add_argument("--out", type=Path, default=Path("page.html"), help="the page (default page.html)")


def call(arguments: argparse.Namespace) -> int:
    """Write the page, and print where it is."""
    from recbole_microlens.export.page.static import write_page
    from recbole_microlens.quick_start import load

    users = _users(arguments.users)
    model = load(arguments.run, data_path=arguments.data_path)
    folder = Path(model.config["data_path"])
    if arguments.data_path is not None and not folder.is_dir():
        raise MicroLensError(f"--data-path: there is no dataset {folder}. Leave it out, or give another one.")
    write_page(model, arguments.out, users, arguments.new_videos, arguments.k, arguments.cold)
    print(arguments.out)
    return 0


def _users(given: str) -> int | list[str]:
    if given.strip().isdecimal() and len(given) < 10:
        return int(given)
    ids = [word.strip() for word in given.split(",") if word.strip()]
    if not ids:
        raise MicroLensError("--users: give a number, or ids with commas between them.")
    return ids
