"""The folder that a run leaves behind: configuration, log and result."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count, zip_longest
from pathlib import Path

import colorlog
import yaml
from recbole.utils.logger import log_colors_config

from recbole_microlens import distributed, files
from recbole_microlens.config.text import read_yaml
from recbole_microlens.errors import MicroLensError, PrintableFormatter, printable
from recbole_microlens.evaluation.results import RESULT

_FORMAT = "%(asctime)s %(levelname)s  %(message)s"
_SCREEN_FORMAT, _SCREEN_TIME = "%(log_color)s" + _FORMAT, "%d %b %H:%M"
_PAINT = re.compile(r"\x1B\[[0-9;]*m")
_COLOUR = re.compile(r"\x1B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")

CONFIG, LOG = "config.yaml", "log.txt"


def create(root: Path, dataset: str, model: str) -> Path:
    """Make ``root/dataset/model-<time>``, with a number behind it where that is taken."""
    name = f"{model}-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    numbers = count()
    while True:
        number = next(numbers)
        folder = root / dataset / (name if number == 0 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            if isinstance(error, FileExistsError) and folder.is_dir():
                continue
            raise MicroLensError(
                f"checkpoint_dir: cannot make a folder for this run. {files.in_words(error)}"
            ) from error
        return folder


@contextmanager
def logged(folder: Path, state: str | None) -> Iterator[None]:
    """Log to the screen and, without colours, to ``log.txt``; a resumed run appends.

    Of several processes the main one logs; the others report errors only. The traceback of an error that is
    a fault of this package goes to ``log.txt``. Afterwards the root logger is as it was.
    """
    root = logging.getLogger()
    level_before, handlers = root.level, []
    if distributed.is_main_process():
        level = getattr(logging, (state or "INFO").upper(), logging.INFO)
        handlers = [_screen(), _log_file(folder)]
    else:
        level = logging.ERROR
    root.setLevel(level)
    for handler in handlers:
        handler.setLevel(level)
        root.addHandler(handler)
    try:
        yield
    except (MicroLensError, OSError):
        raise
    except Exception as error:
        _write_traceback(handlers[1:], error)
        raise
    finally:
        root.setLevel(level_before)
        for handler in handlers:
            root.removeHandler(handler)
            with suppress(OSError):
                handler.close()


def _screen() -> logging.Handler:
    screen = logging.StreamHandler(sys.stderr)
    colours = _ColouredFormatter(_SCREEN_FORMAT, _SCREEN_TIME, log_colors=log_colors_config)
    screen.setFormatter(colours if sys.stderr.isatty() else _PlainFormatter(_FORMAT, _SCREEN_TIME))
    return screen


def _log_file(folder: Path) -> logging.Handler:
    file = _LogFile(folder / LOG, encoding="utf-8")
    file.setFormatter(_PlainFormatter(_FORMAT))
    return file


def _write_traceback(files_of_log: list[logging.Handler], error: Exception) -> None:
    where = (type(error), error, error.__traceback__)
    for handler in files_of_log:
        handler.handle(logging.LogRecord("root", logging.ERROR, __file__, 0, "unexpected error", None, where))


class _LogFile(logging.FileHandler):
    """A log that reports once, on the screen, that it cannot be written; the run continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        logging.getLogger().removeHandler(self)
        with suppress(OSError):
            self.close()
        error.filename = error.filename or self.baseFilename
        logging.getLogger().warning(f"Nothing more is logged to this file. {files.in_words(error)}")


class _PlainFormatter(PrintableFormatter):
    """Without the colours that RecBole writes into its messages; the record itself is left alone."""

    def printed(self, text: str) -> str:
        return super().printed(_COLOUR.sub("", text))


class _ColouredFormatter(colorlog.ColoredFormatter):
    """With colours, ours and those in RecBole's messages, and no other command to the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        parts = [printable(part, lines=True) for part in _PAINT.split(text)]
        return "".join(map("".join, zip_longest(parts, _PAINT.findall(text), fillvalue="")))


def write_config(folder: Path, settings: dict) -> None:
    """Write the settings that repeat this run."""
    text = yaml.safe_dump(settings, allow_unicode=True, sort_keys=True)
    _write(folder / CONFIG, text)


def config_path(folder: Path) -> Path:
    """Path of a run's ``config.yaml``.

    Raises
    ------
    MicroLensError
        The folder is not that of a run.
    """
    path = folder / CONFIG
    if path.is_file():
        return path
    if (folder / LOG).is_file():
        raise MicroLensError(
            f"{folder} is a run that ended before its settings were written: it cannot be resumed. Start it "
            "again with the command that began it, without --resume."
        )
    raise MicroLensError(
        f"{folder} is not a run folder: it has no {CONFIG}. Give a folder runs/<dataset>/<model>-<time>."
    )


def settings_of(folder: Path) -> dict:
    """The settings in a run's ``config.yaml``.

    Raises
    ------
    MicroLensError
        The folder is not that of a run, or the file is damaged.
    """
    path = config_path(folder)
    settings = read_yaml(path)
    for key in ("model", "dataset"):
        if not isinstance(settings.get(key), str):
            raise MicroLensError(f"{path} is damaged: it names no {key}. Give the folder of another run.")
    return settings


def require_same_experiment(folder: Path, model: str | type | None, dataset: str | None) -> None:
    """Raise a :class:`MicroLensError` if a run of another model or dataset is to be continued."""
    begun = settings_of(folder)
    for key, asked in (("model", getattr(model, "__name__", model)), ("dataset", dataset)):
        if asked not in (None, begun.get(key)):
            raise MicroLensError(
                f"{folder} is a run with {key} {begun.get(key)}; it cannot continue with {asked}. "
                f"Leave out --{key}, or start a new run without --resume."
            )


def write_result(folder: Path, result: dict) -> None:
    """Write ``result.json``, whole or not at all."""
    _write(folder / RESULT, json.dumps(result, indent=2, ensure_ascii=False, default=str) + "\n")


def git_commit() -> str | None:
    """Commit of the checkout that the package runs from, or ``None``."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _write(path: Path, text: str) -> None:
    with files.written_whole(path) as file:
        file.write(text)
