"""Times of a log: ISO 8601, or numbers whose unit shows in their size."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation

import numpy as np

from recbole_microlens.release.rows import NUMBER, RowError, parse_number, quoted

_ISO = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)"
    r"(?:[T ]\s*(\d\d):?(\d\d)(?::?(\d\d)(?:[.,](\d{1,9}))?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class TimeUnit:
    """A way to write a time.

    Attributes
    ----------
    name : str
        As the report says it.
    least : int
        The smallest number that is taken for this unit; the next unit's is the first that is not.
    microseconds : tuple[int, int]
        Of one, as a fraction (numerator, denominator).
    is_date : bool
        Whether such a time says which day it was.
    """

    name: str
    least: int
    microseconds: tuple[int, int]
    is_date: bool = True


# From 1973-03-03 on, and up to the year 5138, the units of the epoch do not overlap.
NUMBERS = (
    TimeUnit("plain numbers", 0, (1000, 1), is_date=False),
    TimeUnit("epoch seconds", 10**8, (1_000_000, 1)),
    TimeUnit("epoch milliseconds", 10**11, (1000, 1)),
    TimeUnit("epoch microseconds", 10**14, (1, 1)),
    TimeUnit("epoch nanoseconds", 10**17, (1, 1000)),
)
ISO = TimeUnit("ISO 8601 (UTC unless a zone is given)", 0, (1, 1))
UNITS = (*NUMBERS, ISO)
_TOO_LARGE = 2**63
_MOST_DIGITS = len(str(_TOO_LARGE))
_FIRST_YEAR = 1900


def unit_of(number: float | Decimal) -> TimeUnit:
    """The unit that a number which is not negative is in, by its size."""
    return next(unit for unit in reversed(NUMBERS) if number >= unit.least)


def microseconds(text: str) -> tuple[TimeUnit, int]:
    """Read one time: its unit, and the microseconds since 1970 (of plain numbers: thousandths).

    Raises
    ------
    RowError
        It is neither a number nor a date of ISO 8601, or out of range.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0")[: _MOST_DIGITS + 1]
        return _of_number(int(digits or "0"), text)
    if match := _ISO.fullmatch(text):
        return ISO, _of_date(match, text)
    if not NUMBER.fullmatch(text):
        raise RowError(f"timestamp {quoted(text)} is not a number, nor an ISO 8601 date")
    parse_number(text, "timestamp")
    try:
        return _of_number(Decimal(text), text)
    except InvalidOperation as error:
        raise RowError(f"timestamp {quoted(text)} is out of range") from error


def in_microseconds(numbers: np.ndarray, unit: TimeUnit) -> np.ndarray:
    """Whole numbers of one unit, int64 [n], as microseconds."""
    multiply, divide = unit.microseconds
    return numbers * multiply // divide


def numbers_in_microseconds(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from 0 to 10^18, int64 [n], as microseconds, and the place of each one's unit in
    :data:`UNITS`, uint8 [n].
    """
    least = np.array([unit.least for unit in NUMBERS])
    ends = np.searchsorted(least, [numbers.min(initial=0), numbers.max(initial=0)], side="right") - 1
    if len(numbers) and ends[0] != ends[1]:
        units = (np.searchsorted(least, numbers, side="right") - 1).astype(np.uint8)
    else:
        units = np.full(len(numbers), ends[1], dtype=np.uint8)
    times = np.empty(len(numbers), dtype=np.int64)
    for place in range(ends[0], ends[1] + 1):
        of_unit = units == place if ends[0] != ends[1] else slice(None)
        times[of_unit] = in_microseconds(numbers[of_unit], NUMBERS[place])
    return times, units


def as_date(time_us: int) -> str:
    """A time as ``2024-05-31 18:00 UTC``."""
    return (_EPOCH + time_us * _MICROSECOND).strftime("%Y-%m-%d %H:%M UTC")


def _of_number(number: int | Decimal, text: str) -> tuple[TimeUnit, int]:
    if number >= _TOO_LARGE:
        raise RowError(f"timestamp {quoted(text)} is too large for nanoseconds")
    unit = unit_of(number)
    if not unit.is_date and number != int(number):
        raise RowError(f"timestamp {quoted(text)} is not a whole number of milliseconds")
    multiply, divide = unit.microseconds
    return unit, int(number * multiply // divide)


def _of_date(match: re.Match, text: str) -> int:
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        clock = [int(part or 0) for part in (hour, minute, second)]
        moment = datetime.combine(date(int(year), int(month), int(day)), time(clock[0], clock[1], clock[2]))
        moment = moment.replace(tzinfo=_zone(zone)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise RowError(f"timestamp {text!r} is not a date ({error})") from error
    if moment.year < _FIRST_YEAR:
        raise RowError(f"timestamp {text!r} lies before {_FIRST_YEAR}: that is not a plausible time")
    return (moment - _EPOCH) // _MICROSECOND + int(f"{fraction or ''}000000"[:6])


def _zone(text: str | None) -> timezone:
    if text is None or text.upper() in ("Z", "UTC", "GMT"):
        return timezone.utc
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)
