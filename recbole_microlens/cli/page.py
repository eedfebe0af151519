"""The sub-command ``page``: what a run recommends to some users, and where new videos land, as one file."""

from __future__ import annotations

import argparse
from pathlib import Path

from recbole_microlens.cli.asking import add_new_items, add_run, words
from recbole_microlens.errors import MicroLensError

HELP = "write one page that shows what a run recommends, and where new videos land"
_DIGITS = 9  # no page has room for as many users as a longer number would be


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``page`` to its parser."""
    parser.epilog = "Pictures of items are looked for in the dataset of the run, below --data-path."
    add_run(parser)
    parser.add_argument(
        "--users",
        default="12",
        help="how many are drawn, always alike, of those with a test target; or which: u1,u2 (a single one "
        "with a comma behind it), or a file with an id on each line (default 12)",
    )
    parser.add_argument("-k", type=int, default=10, help="recommendations for each user (default 10)")
    add_new_items(parser)
    parser.add_argument("--out", type=Path, default=Path("page.html"), help="the page (default page.html)")


def call(arguments: argparse.Namespace) -> int:
    """Write the page, and print where it is."""
    from recbole_microlens.export.page.static import write_page
    from recbole_microlens.quick_start import load

    users = _users(arguments.users)
    model = load(
        arguments.run,
        device=arguments.device,
        precision=arguments.precision,
        data_path=arguments.data_path,
    )
    folder = Path(model.config["data_path"])
    if arguments.data_path is not None and not folder.is_dir():
        raise MicroLensError(f"--data-path: there is no dataset {folder}. Leave it out, or give another one.")
    write_page(model, arguments.out, users, arguments.new_items, arguments.k, arguments.cold)
    print(arguments.out)
    return 0


def _users(given: str) -> int | list[str]:
    if given.strip().isdecimal() and len(given) <= _DIGITS:
        return int(given)
    return words(given)
