"""The sub-command ``models``: tables of the models there are."""

from __future__ import annotations

import argparse

HELP = "list the models and how each is trained"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``models`` to its parser."""
    parser.add_argument("--markdown", action="store_true", help="tables of Markdown")


def call(arguments: argparse.Namespace) -> int:
    """Print the tables."""
    from recbole_microlens.config.model_listing import format_models

    print(format_models(arguments.markdown))
    return 0
