"""The sub-command ``covers``: cover images into ``cover.lmdb``."""

from __future__ import annotations

import argparse

from recbole_microlens.cli import media
from recbole_microlens.media.suffixes import IMAGE_SUFFIXES

HELP = "build cover.lmdb from covers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``covers`` to its parser."""
    parser.epilog = "Covers are <item> and one of " + " ".join(IMAGE_SUFFIXES) + "."
    media.add_pictures(parser)
    media.add_arguments(parser)


def call(arguments: argparse.Namespace) -> int:
    """Build ``cover.lmdb``, and print what it holds and what is missing."""
    from recbole_microlens.media.build import build_covers

    options = {"size": arguments.size, "quality": arguments.quality}
    return media.build_store(arguments, build_covers, ("covers",), "image", **options)
