"""Runs parts one after another: each in its own ``try``, within its time, recorded when it ends."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from gpu_checks.place import Place
from gpu_checks.report import Report

_KEPT_LINES = 3
_LEAST_SECONDS = 5  # of a part, however little a GPU needs for it
_MORE_SECONDS = 30  # until a part is ended: the first ones load libraries


@dataclass(frozen=True)
class Part:
    """A part of the command.

    Attributes
    ----------
    run : does it, and records what it finds.
    seconds : what it takes on a GPU, roughly; it is not begun with half of that left, and ended after four
        times that and a bit.
    only_cuda : a CPU has nothing to show for it.
    in_short : false for what would only repeat another part in small shapes.
    """

    run: Callable[[Place, Report], None]
    seconds: float
    only_cuda: bool = False
    in_short: bool = True


class OutOfTimeError(Exception):
    """A part took longer than it may."""


class BrokenDeviceError(Exception):
    """The GPU answers nothing more in this process."""


def run_parts(parts: dict[str, Part], place: Place, report: Report, end: float) -> None:
    """Run the parts that the report does not have yet.

    Parameters
    ----------
    parts : by name, in order of worth.
    end : on the clock of :func:`time.monotonic`, when all has to be over.

    Raises
    ------
    BrokenDeviceError
        After a part that left the GPU unusable; the report has all up to it.
    """
    for name, part in parts.items():
        if name in report.parts:
            continue
        against = _reason_against(part, place, end - monotonic())
        if against:
            _record(report, name, state="skipped", why=against)
            continue
        _record(report, name, state="running")
        start = monotonic()
        try:
            with _at_most(_limit(part, place, end - monotonic())):
                part.run(place, report)
            found = {"state": "done"}
        except Exception as error:
            found = {"state": "failed", "why": _last_lines(error)}
        _record(report, name, **found, seconds=round(monotonic() - start, 1))
        place.release()
        if found["state"] == "failed" and not place.works():
            raise BrokenDeviceError(name)


def _reason_against(part: Part, place: Place, left: float) -> str | None:
    if part.only_cuda and not place.is_cuda:
        return "only on a GPU"
    if place.short and not part.in_short:
        return "not with --short"
    if left < (_LEAST_SECONDS if place.short else max(part.seconds / 2, _LEAST_SECONDS)):
        return f"{max(left, 0):.0f} s were left"
    return None


def _limit(part: Part, place: Place, left: float) -> float:
    """Seconds for a part; how long a CPU takes says nothing."""
    return min(4 * part.seconds + _MORE_SECONDS, left) if place.is_cuda else left


def _record(report: Report, name: str, **found) -> None:
    report.parts[name] = found
    report.write()
    why = f": {found['why'].splitlines()[-1][:160]}" if "why" in found else ""
    if found["state"] != "running":
        print(f"{name}: {found['state']} {found.get('seconds', '')}{why}", file=sys.stderr, flush=True)


def _last_lines(error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).strip().splitlines()
    at = [line.strip() for line in lines if line.strip().startswith("File ")][-_KEPT_LINES:]
    return "\n".join([*at, f"{type(error).__name__}: {str(error)[:300]}"])


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raise an :class:`OutOfTimeError` in the block when its time is over: between two calls of libraries."""

    def over(*_) -> None:
        raise OutOfTimeError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
