"""The command line: thin sub-commands over the package's functions, one file each."""

from __future__ import annotations

import argparse
import logging
import sys

from recbole_microlens import __version__
from recbole_microlens.cli import (
    analyse,
    audience,
    audio,
    cache,
    compare,
    config,
    convert,
    covers,
    doctor,
    download,
    encoders,
    export,
    extract,
    filter,
    frames,
    merge,
    models,
    page,
    plot,
    recommend,
    report,
    run,
    sample,
    serve,
    tune,
    verify,
)
from recbole_microlens.cli.failures import ended
from recbole_microlens.compat.requirements import require_recbole
from recbole_microlens.errors import MicroLensError, PrintableFormatter

_DESCRIPTION = "Train, evaluate and compare recommenders that look at the content of items."
_EPILOG = (
    "Run a sub-command with --help for its options; --debug shows the traceback of an unexpected error. The "
    "README has examples."
)
_COMMANDS = {
    "run": run,
    "download": download,
    "filter": filter,
    "convert": convert,
    "frames": frames,
    "covers": covers,
    "audio": audio,
    "merge": merge,
    "verify": verify,
    "sample": sample,
    "extract": extract,
    "cache": cache,
    "encoders": encoders,
    "models": models,
    "config": config,
    "compare": compare,
    "tune": tune,
    "analyse": analyse,
    "plot": plot,
    "report": report,
    "serve": serve,
    "recommend": recommend,
    "audience": audience,
    "export": export,
    "page": page,
    "doctor": doctor,
}
# These take any setting of RecBole or of this package, which argparse does not know.
_OF_SETTINGS = ("run", "config")
# These take settings beside their own options.
_AND_SETTINGS = ("compare", "tune")
_ACTION_AND_SETTINGS = ["cache", "build"]


def main(argv: list[str] | None = None) -> int:
    """Run a sub-command.

    Parameters
    ----------
    argv : list of str, optional
        The words of the command line, without the program's name.

    Returns
    -------
    int
        The exit code: 0, 1 (something was found wrong, or the program is), 2 (bad input, or a file that
        cannot be read or written), 130 (interrupted) or 141 (nobody reads the output).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    shows_traceback = "--debug" in argv
    argv = [word for word in argv if word != "--debug"]
    return ended(lambda: _call(argv), argv, shows_traceback)


def _call(argv: list[str]) -> int:
    if argv and argv[0] in _OF_SETTINGS:
        return _COMMANDS[argv[0]].call_with(argv[1:])
    for argument in argv:
        if argument.startswith("--") and argument.endswith("=--"):  # argparse makes an empty list of it
            raise MicroLensError(f"{argument}: the value is missing. Write {argument[:-2]}VALUE.")
    arguments = _parsed(argv)
    if arguments.call is not doctor.call:  # at the first command of all, not hours later
        require_recbole()
    screen = logging.StreamHandler()
    screen.setFormatter(PrintableFormatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[screen])
    return arguments.call(arguments)


def _parsed(argv: list[str]) -> argparse.Namespace:
    has_settings = argv[:1] and (argv[0] in _AND_SETTINGS or argv[:2] == _ACTION_AND_SETTINGS)
    if not has_settings:
        return parser().parse_args(argv)
    arguments, rest = parser().parse_known_args(argv)
    name = " ".join(argv[:2]) if argv[:2] == _ACTION_AND_SETTINGS else argv[0]
    for word in rest:
        if "=" not in word:
            raise MicroLensError(f"{word} is no option of {name}. Write a setting as --key=value.")
    arguments.settings = run.parse_settings(rest)
    return arguments


class _Parser(argparse.ArgumentParser):
    """Raises if the help cannot be printed; argparse ignores that."""

    def _print_message(self, message, file=None):
        if message:
            (file or sys.stderr).write(message)


def parser() -> argparse.ArgumentParser:
    """The parser of all sub-commands but those that take any setting."""
    whole = _Parser("recbole-microlens", description=_DESCRIPTION, epilog=_EPILOG)
    whole.add_argument("--version", action="version", version=__version__)
    commands = whole.add_subparsers(metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        text = command.HELP
        own = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            add_help=name not in _OF_SETTINGS,
            allow_abbrev=name not in _AND_SETTINGS,  # --seed=1 would be --seeds
        )
        command.add_arguments(own)
        own.set_defaults(call=getattr(command, "call", None))
    return whole
