"""User and item ids: which are usable, their codes, and their natural order."""

import re

import numpy as np

from recbole_microlens.release.rows import LONGEST_FIELD, RowError, quoted

# What pandas, and so RecBole, reads as a missing value in a column of text.
MISSING_WORDS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_DIGITS = re.compile(r"([0-9]+)")


def clean_id(text: str, kind: str) -> str:
    """Return the id without white space around it, and single spaces within; leading zeros stay.

    Parameters
    ----------
    text : str
        The id as it stands in the file.
    kind : str
        ``"user"`` or ``"item"``, for the reason.

    Raises
    ------
    RowError
        The id is empty, holds a control character, is a word that RecBole reads as missing, or longer than
        RecBole reads.
    """
    # Not all that Python takes for white space: a form feed beside an id is a damaged id.
    text = text.strip(" \t")
    if _CONTROL.search(text):
        raise RowError(f"the {kind} id {quoted(text)} holds a control character")
    name = " ".join(text.split())
    if not name:
        raise RowError(f"empty {kind}")
    if name in MISSING_WORDS:
        raise RowError(f"the {kind} id {name!r} is read as a missing value by pandas and RecBole")
    if len(name) > LONGEST_FIELD:
        raise RowError(f"the {kind} id has {len(name):,} characters; RecBole reads {LONGEST_FIELD:,}")
    return name


class IdTable:
    """Gives each distinct id of one kind a code 0, 1, 2, ... in order of appearance.

    ``respelled`` counts the texts whose white space within became single spaces.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.names: list[str] = []
        self.respelled = 0
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
            self.respelled += name != text.strip()
        return code


def natural_key(name: str) -> tuple:
    """Sort key by which runs of digits compare as numbers: 2 before 10, v2 before v10, 7 before 07."""
    parts = _DIGITS.split(name)
    # As numbers to base 16, which stand in the same order: Python reads no more than 4,300 digits to base 10.
    return [int(part, 16) if place % 2 else part for place, part in enumerate(parts)], len(name), name


def natural_order(names: list[str]) -> np.ndarray:
    """Return the places of ``names`` in natural order; int64 [len(names)]."""
    keys = [natural_key(name) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)
