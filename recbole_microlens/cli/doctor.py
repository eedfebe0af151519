"""The sub-command ``doctor``: is everything here that a run needs?"""

from __future__ import annotations

import argparse

HELP = "print versions, work-arounds, the device, and what is missing"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``doctor`` has no options."""


def call(arguments: argparse.Namespace) -> int:
    """Print the report; 1 if anything is missing."""
    from recbole_microlens.compat.doctor import examine

    report, healthy = examine()
    print(report)
    return 0 if healthy else 1
