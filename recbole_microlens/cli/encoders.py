"""The sub-command ``encoders``: a table of the content encoders."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

HELP = "list the content encoders"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``encoders`` to its parser."""
    parser.add_argument(
        "--modality", choices=("video", "image", "text", "audio"), help="of this modality alone"
    )
    parser.add_argument("--measure", action="store_true", help="time each on this machine's CPU")
    parser.add_argument(
        "--families",
        action="store_true",
        help="list the families that a folder or hub id may be of, and which were tested",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, with the addresses of the weights")
    form.add_argument("--markdown", action="store_true", help="as a table of Markdown")


def call(arguments: argparse.Namespace) -> int:
    """Print the table."""
    if arguments.families:
        from recbole_microlens.encoders.tested import families_table

        print(families_table(arguments.markdown))
        return 0
    from recbole_microlens.encoders.listing import as_table, list_encoders

    listed = list_encoders(arguments.modality, arguments.measure)
    if arguments.json:
        print(json.dumps([asdict(line) for line in listed], indent=2))
    else:
        print(as_table(listed, arguments.markdown))
    return 0
