"""How a command ends: its exit code, and one sentence for what the user or the system did."""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress

from recbole_microlens import files
from recbole_microlens.errors import MicroLensError, first_line, is_out_of_memory, printable
from recbole_microlens.training import interruption

FAULT, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
_OUTPUT = "standard output"
_LOCALE = f"It is {sys.getfilesystemencoding()}: set LANG=C.UTF-8, or PYTHONUTF8=1."

_SHARED_MEMORY = (
    "The shared memory of this machine (/dev/shm) is too small for the batches that the workers hand over. "
    "Set `--worker=0`, or give it more: `docker run --shm-size=8g`, or `mount -o remount,size=8g /dev/shm`."
)
# What libraries say of the system without its reason: pattern, and what is said instead.
_OF_LIBRARIES = (
    (
        re.compile(r"DataLoader.* shared memory|unable to (mmap|write to|allocate).*torch_", re.S),
        _SHARED_MEMORY,
    ),
    (
        re.compile(r"DataLoader worker .*(exited unexpectedly|killed by signal)", re.S),
        "A process that reads data was killed by the system, probably for lack of memory. Lower `worker` or "
        "`train_batch_size`.",
    ),
)


def ended(command: Callable[[], int], arguments: Iterable[str] = (), shows_traceback: bool = False) -> int:
    """Run a command and return its exit code; print its errors on standard error and flush its output.

    Parameters
    ----------
    command : callable
        Returns the exit code.
    arguments : iterable of str
        Of the command line, to check that this locale can read them.
    shows_traceback : bool
        Whether an unexpected error is shown with its traceback.
    """
    _let_warnings_be_warnings()
    _print_any_character()
    with interruption.listening():
        code = _told(lambda: _unexpected_told(command, shows_traceback), arguments)
    return _output_written(code)


def _require_working_directory() -> None:
    """Without one, libraries end the whole process."""
    try:
        os.getcwd()
    except OSError as error:
        raise MicroLensError(
            "The working directory no longer exists. Change to another one and run the command again."
        ) from error


def _require_readable(arguments: Iterable[str]) -> None:
    for argument in arguments:
        if not _is_utf8() and not argument.isascii():
            raise MicroLensError(f"{argument}: this has characters that the locale cannot read. {_LOCALE}")


def _is_utf8() -> bool:
    return sys.getfilesystemencoding().lower().replace("-", "") == "utf8"


def _told(command: Callable[[], int], arguments: Iterable[str]) -> int:
    try:
        _require_working_directory()
        _require_readable(arguments)
        return command()
    except SystemExit as stop:  # argparse, after its help or its error
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except MicroLensError as error:
        return _refuse(str(error))
    except interruption.Preempted as stop:
        return _say_how_to_go_on("Stopped on the scheduler's request", stop, 0)
    except KeyboardInterrupt as stop:
        return _say_how_to_go_on("\nInterrupted", stop, INTERRUPTED)
    except BrokenPipeError:
        return BROKEN_PIPE
    except UnicodeEncodeError as error:
        if _is_utf8():
            raise
        return _refuse(f"{first_line(error)}. {_LOCALE}")
    except OSError as error:
        if error.filename is None:  # Files are written under their names; see `files.naming`.
            error.filename = _OUTPUT
        return _refuse(files.in_words(error))
    except (MemoryError, RuntimeError) as error:
        said = _said_of_library(error)
        if said is None:
            raise
        return _refuse(said)


def _unexpected_told(command: Callable[[], int], shows_traceback: bool) -> int:
    """Report an unexpected error, which is a fault of this package, in one line."""
    try:
        return command()
    except (MicroLensError, OSError, UnicodeEncodeError):
        raise
    except Exception as error:
        if isinstance(error, MemoryError | RuntimeError) and _said_of_library(error) is not None:
            raise
        if shows_traceback:
            traceback.print_exc()
        where = "" if shows_traceback else " Run the same command with --debug to see where it happened."
        _print_error(
            f"unexpected error: {type(error).__name__}: {printable(first_line(error))}. This is a fault of "
            f"recbole-microlens, not yours.{where}"
        )
        return FAULT


def _said_of_library(error: Exception) -> str | None:
    for pattern, instead in _OF_LIBRARIES:
        if pattern.search(str(error)):
            return instead
    return f"Out of memory: {first_line(error)}." if is_out_of_memory(error) else None


def _refuse(message: str) -> int:
    if not _is_first():
        # What is wrong for all processes is said by the first, which ends the others.
        try:
            time.sleep(10)
        except KeyboardInterrupt:
            return BAD_INPUT
    _print_error(f"error: {printable(message, lines=True)}")
    return BAD_INPUT


def _say_how_to_go_on(what: str, stop: BaseException, code: int) -> int:
    interruption.heard()
    folder = interruption.folder_of(stop)
    if folder is None:
        advice = "Run the command again: a build continues where it stopped."
    else:
        advice = f"Continue with: python run_recbole_ml.py --resume={folder}"
    if _is_first():
        _print_error(f"{what}. {advice}")
    return code


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"  # Read here: the module that knows it imports torch.


def _print_error(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it
        print(text, file=sys.stderr, flush=True)


def _output_written(code: int) -> int:
    """Write out what was printed, while it can still be said that this fails."""
    try:
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        code = BROKEN_PIPE
    except OSError as error:
        error.filename = _OUTPUT
        _print_error(f"error: {files.in_words(error)}")
        code = BAD_INPUT
    with suppress(OSError, ValueError):  # or Python tries again as it ends, and prints a traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _print_any_character() -> None:
    """Where the terminal cannot show a character, print its number."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and (stream.encoding or "").lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="backslashreplace")


def _let_warnings_be_warnings() -> None:
    """``python -W error`` would stop at what libraries say to their developers."""
    if any(option.split(":")[0] == "error" for option in sys.warnoptions):
        warnings.simplefilter("default")
