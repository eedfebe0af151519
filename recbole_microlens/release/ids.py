"""User and item ids: which are usable, their codes, and their natural order."""

import re

import numpy as np

from recbole_microlens.release.rows import RowError

# What pandas, and so RecBole, reads as a missing value in a column of text.
MISSING_WORDS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f\ufeff]")
_DIGITS = re.compile(r"([0-9]+)")


def clean_id(text: str, kind: str) -> str:
    """Return the id without white space around it, and single spaces within; leading zeros stay.

    Args:
        text: the id as it stands in the file.
        kind: ``"user"`` or ``"item"``, for the reason.

    Raises:
        RowError: the id is empty, holds a control character, or is a word that RecBole reads as missing.
    """
    text = text.strip()
    if not text:
        raise RowError(f"empty {kind}")
    if _CONTROL.search(text):
        raise RowError(f"the {kind} id {text!r} holds a control character")
    if text in MISSING_WORDS:
        raise RowError(f"the {kind} id {text!r} is read as a missing value by pandas and RecBole")
    return " ".join(text.split())


class IdTable:
    """Gives each distinct id of one kind a code 0, 1, 2, ... in order of appearance."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.names: list[str] = []
        self._by_text: dict[str, int] = {}
        self._by_name: dict[str, int] = {}

    def code(self, text: str) -> int:
        """Return the code of the id written ``text``; raises :class:`RowError` as :func:`clean_id` does."""
        code = self._by_text.get(text)
        if code is None:
            name = clean_id(text, self.kind)
            code = self._by_name.setdefault(name, len(self.names))
            if code == len(self.names):
                self.names.append(name)
            self._by_text[text] = code
        return code


def natural_key(name: str) -> tuple:
    """Sort key by which runs of digits compare as numbers: 2 before 10, v2 before v10, 7 before 07."""
    parts = _DIGITS.split(name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], len(name), name


def natural_order(names: list[str]) -> np.ndarray:
    """Return the places of ``names`` in natural order; int64 [len(names)]."""
    keys = [natural_key(name) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)
