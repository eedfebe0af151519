"""The sub-command ``config``: every setting of a run with its value and origin, or all settings there are."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from textwrap import fill, indent

import yaml

from recbole_microlens.errors import MicroLensError, printable

HELP = "print every setting of a run and where it comes from"
_COLUMN = 40
_HELP = """usage: recbole-microlens config --model=MODEL --dataset=DATASET [--key=value ...] [--json]
       recbole-microlens config --list

Print every setting of a run, its value and where the value comes from, as a settings file. Takes the same
options as `run`; reads no data, and the dataset need not be there.

  --config_files    a file with settings, as to `run`
  --json            as JSON
  --list            list all settings with allowed values and meaning

{layers}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the options that are no settings; :func:`call_with` reads these, not argparse."""
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--list", action="store_true")


def call_with(argv: list[str]) -> int:
    """Print the settings that the words of the command line lead to.

    Parameters
    ----------
    argv : list of str
        What stands behind ``config``: the settings as ``run`` takes them, ``--json``, ``--list``.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    MicroLensError
        What ``run`` would refuse, but for what only the data or the machine's memory show.
    """
    flags = {flag for flag in ("--json", "--list", "--help", "-h") if flag in argv}
    argv = [argument for argument in argv if argument not in flags]
    if flags & {"--help", "-h"} or not (argv or flags):
        from recbole_microlens.config.loading import IN_WORDS

        print(_HELP.format(layers=fill(IN_WORDS, 79)))
        return 0 if flags else 2
    return _list(argv, "--json" in flags) if "--list" in flags else _show(argv, "--json" in flags)


def _show(argv: list[str], as_json: bool) -> int:
    from recbole_microlens.cli.run import parse_settings
    from recbole_microlens.config import Config
    from recbole_microlens.config.loading import IN_WORDS
    from recbole_microlens.config.origins import OF_THE_MACHINE, SETTLED, origins
    from recbole_microlens.config.text import config_files

    settings = parse_settings(argv)
    if "resume" in settings:
        raise MicroLensError(
            f"--resume: {settings['resume']} has its settings in config.yaml. Give --config_files="
            f"{settings['resume']}/config.yaml instead."
        )
    files = config_files(settings.pop("config_files", []))
    found = origins(Config(settings.pop("model", None), settings.pop("dataset", None), files, settings))
    if as_json:
        print(json.dumps({each.key: _as_dict(each) for each in found}, indent=2))
        return 0
    print(indent(fill(IN_WORDS, 78), "# "))
    lines = [f"{each.key}: {_in_yaml(each.value)}" for each in found]
    for line, each in zip(lines, found, strict=True):
        # A file that names a device asks for it.
        off = "# " if each.key in OF_THE_MACHINE and each.layer == SETTLED else ""
        print(f"{off + line:<{_COLUMN}} # {printable(each.in_words())}")
    return 0


def _as_dict(origin) -> dict:
    found = {"value": origin.value, "layer": origin.layer, "place": origin.place}
    return found | ({"said": origin.said, "reason": origin.reason} if origin.reason else {})


def _in_yaml(value) -> str:
    """A value as a file has it, in one line."""
    written = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf)
    return written.removesuffix("...\n").strip()


def _list(argv: list[str], as_json: bool) -> int:
    from recbole_microlens.config.reference import all_settings, as_text

    if argv:
        raise MicroLensError(f"'{argv[0]}': --list takes nothing beside --json.")
    settings = all_settings()
    print(json.dumps([asdict(each) for each in settings], indent=2) if as_json else as_text(settings))
    return 0
