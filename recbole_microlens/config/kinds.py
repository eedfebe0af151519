"""Kinds of values that a setting may have: what a value must be, in words, and what is wrong with one."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_microlens.errors import did_you_mean

_LARGEST = 2**31 - 1
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # Bytes: of most file systems, and of Linux.
_ADVICE = "Change it on the command line or in the file."

Fault = Callable[[Any], str | None]


@dataclass(frozen=True)
class Kind:
    """What the values of a setting may be.

    Attributes
    ----------
    says : str
        What a value must be, as in "a whole number of at least 1".
    fault : Fault
        What is wrong with a value, as the rest of a sentence that begins with the setting's name and a colon;
        ``None`` if nothing is.
    is_text : bool
        What the command line says is taken as it stands: ``[5,10)`` is no list.
    """

    says: str
    fault: Fault
    is_text: bool = False


class _Short(reprlib.Repr):
    def __init__(self):
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict = 4, 10, 10, 8
        self.maxstring = self.maxother = self.maxlong = 80


def shown(value) -> str:
    """A value as Python writes it, short and without control characters, however large it is."""
    try:
        return _Short().repr(value)
    except (ValueError, RecursionError):  # Python refuses to write out a number of thousands of digits.
        return f"a very large {type(value).__name__}"


def _is_not(value, says: str) -> str:
    return f"{shown(value)} is not {says}. {_ADVICE}"


def whole(least: int | None = None, most: int = _LARGEST) -> Kind:
    """A whole number; ``true`` is none, nor is ``2.0``."""
    bound = "" if least is None else f" of at least {least}"
    says = "a whole number" + bound

    def fault(value):
        if type(value) is not int or (least is not None and value < least):
            return _is_not(value, says)
        return _is_not(value, f"{says} and at most {most}") if value > most or value < -_LARGEST else None

    return Kind(says if most == _LARGEST else f"{says} and at most {most}", fault)


def number(
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Kind:
    """A finite number; bounds are included (``least``, ``most``) or not (``above``, ``below``)."""
    bounds = {"of at least": least, "above": above, "of at most": most, "below": below}
    said = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    says = " ".join(["a number", " and ".join(said)]).strip()

    def fault(value):
        if type(value) not in (int, float):
            return _is_not(value, says)
        if type(value) is float and not math.isfinite(value):
            return _is_not(value, says.replace("a number", "a finite number"))
        too_low = (least is not None and value < least) or (above is not None and value <= above)
        too_high = (most is not None and value > most) or (below is not None and value >= below)
        too_large = abs(value) > 1e300  # more than a float holds, of whole numbers
        return _is_not(value, says) if too_low or too_high or too_large else None

    return Kind(says, fault)


def dropout() -> Kind:
    """The share of values that are dropped: from 0 to below 1."""
    share = number(0, below=1)

    def fault(value):
        if type(value) in (int, float) and value == 1:
            return f"{value} leaves nothing. Set a number below 1."
        return share.fault(value)

    return Kind(share.says, fault)


def flag() -> Kind:
    """``true`` or ``false``."""

    def fault(value):
        return (
            None if isinstance(value, bool) else f"{shown(value)} is neither true nor false. Set one of them."
        )

    return Kind("true or false", fault)


def word(*choices, any_case: bool = False) -> Kind:
    """One of a few words (or numbers)."""

    def fault(value):
        found = value.lower() if any_case and isinstance(value, str) else value
        if any(found == choice and type(found) is type(choice) for choice in choices):
            return None
        near = did_you_mean(value, map(str, choices)) if isinstance(value, str) and len(value) < 50 else ""
        return f"{_quoted(value)} is unknown.{near} Set one of: {listed}."

    listed = ", ".join(str(choice) if choice != "" else "''" for choice in choices)
    return Kind(f"one of {listed}", fault)


def _quoted(value) -> str:
    return shown(value) if isinstance(value, str) else f"'{shown(value)}'"


def text(what: str = "a text") -> Kind:
    """A text that is not empty and can be printed."""

    def fault(value):
        if not isinstance(value, str):
            return f"{shown(value)} is not {what}. If you mean this text, put it in quotes."
        if not value.strip():
            return f"{shown(value)} is empty. Give {what}, or leave it out."
        if len(value) > _LONGEST_NAME:
            return f"{shown(value)} is longer than {_LONGEST_NAME} characters. Give {what}."
        return None if value.isprintable() else f"{shown(value)} has characters that cannot be printed."

    return Kind(what, fault)


def path(what: str = "the path of a file", may_be_empty: bool = False) -> Kind:
    """A path; whether there is something is for its reader to see."""

    def fault(value):
        if not isinstance(value, str):
            return f"{shown(value)} is not {what}. A number as a name is written ./{shown(value)[:20]}."
        if not value.strip():
            return None if may_be_empty and not value else f"{shown(value)} is empty. Give {what}."
        if not value.isprintable():
            return f"{shown(value)} has characters that cannot be printed. Rename it."
        too_long = len(value.encode()) > _LONGEST_PATH
        if too_long or any(len(part.encode()) > _LONGEST_NAME for part in value.split("/")):
            return f"{shown(value)} is longer than a path may be. Give a shorter one."
        return None

    return Kind(what, fault)


def separator() -> Kind:
    """What stands between two values of a file: one character or a few, a tab too."""

    def fault(value):
        is_short = isinstance(value, str) and 1 <= len(value) <= 8
        if not is_short or not value.replace("\t", " ").isprintable():
            return f"{shown(value)} is not a separator of columns or values. Set a character, such as '\\t'."
        return None

    return Kind("a character", fault, is_text=True)


def many(kind: Kind, length: int | None = None, least: int = 1) -> Kind:
    """A list of values of a kind: of a length, or of at least so many."""
    count = f"{length} values" if length is not None else "values"
    says = f"a list of {count}, each {kind.says}"

    def fault(value):
        if not isinstance(value, list):
            return f"{shown(value)} is not a list of {count}. Write [a, b], each {kind.says}."
        if length is not None and len(value) != length:
            return f"{shown(value)} has {len(value)} values. Give {length}."
        if length is None and len(value) < least:
            return f"{shown(value)} is too short. Give {least} or more, each {kind.says}."
        return _first(f"{shown(value)}: ", value, kind)

    return Kind(says, fault)


def one_or_many(kind: Kind) -> Kind:
    """A value of a kind, or a list of them."""
    several = many(kind)
    return Kind(
        f"{kind.says}, or a list of such",
        lambda value: several.fault(value) if isinstance(value, list) else kind.fault(value),
    )


def mapping(values: Kind, keys: Kind | None = None, what: str = "a dict") -> Kind:
    """A dict whose values are of a kind, and whose keys are texts or of a kind of their own."""
    keys = keys or text("a name")

    def fault(value):
        if not isinstance(value, dict):
            return f"{shown(value)} is not a dict. Write {{name: value}}, each value {values.says}."
        for key, item in value.items():
            wrong = keys.fault(key)
            if wrong:
                return f"{shown(value)}: {wrong}"
            wrong = values.fault(item)
            if wrong:
                return f"{shown(key)}: {wrong}"
        return None

    return Kind(f"{what}, each value {values.says}", fault)


def record(fields: Mapping[str, Kind], example: str, needed: tuple[str, ...] = ()) -> Kind:
    """A dict of a few known entries, each of its kind."""

    def fault(value):
        if not isinstance(value, dict):
            return f"{shown(value)} is not a dict. Set e.g. {example}."
        for key, item in value.items():
            if not isinstance(key, str) or key not in fields:
                near = did_you_mean(key, fields) if isinstance(key, str) and len(key) < 50 else ""
                return f"{_quoted(key)} is not an entry of it.{near} Known: {', '.join(fields)}."
            wrong = fields[key].fault(item)
            if wrong:
                return f"{key}: {wrong}"
        missing = [key for key in needed if key not in value]
        return f"{shown(value)} has no {missing[0]}. Set e.g. {example}." if missing else None

    return Kind(f"a dict such as {example}", fault)


def or_null(kind: Kind) -> Kind:
    """A value of a kind, or none at all."""
    says = kind.says if kind.says.endswith("or null") else f"{kind.says}, or null"
    return Kind(says, lambda value: None if value is None else kind.fault(value), kind.is_text)


def either(*kinds: Kind) -> Kind:
    """A value of one of several kinds; the last one says what is wrong."""
    says = ", or ".join(kind.says for kind in kinds)

    def fault(value):
        faults = [kind.fault(value) for kind in kinds]
        return None if None in faults else _is_not(value, says)

    return Kind(says, fault, any(kind.is_text for kind in kinds))


def anything() -> Kind:
    """What is handed on to another library, which checks it."""
    return Kind("anything", lambda value: None)


def _first(where: str, values: list, kind: Kind) -> str | None:
    return next((where + wrong for value in values if (wrong := kind.fault(value))), None)
