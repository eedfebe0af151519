"""User and item ids: which are usable, their codes, and their natural order."""

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from recbole_microlens.release.rows import LONGEST_FIELD, RowError, quoted

# What pandas, and so RecBole, reads as a missing value in a column of text.
MISSING_WORDS = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"}
    | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_LARGEST_LOOKED_UP = 1 << 26  # numbers from here on are found by name: a table of them would be large
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


@dataclass(frozen=True)
class IdColumn:
    """The ids of a column, clean; as numbers where all are plain whole numbers.

    Attributes
    ----------
    numbers : np.ndarray [rows], int64, or None
        The ids themselves.
    codes : np.ndarray [rows], int64, or None
        Places in ``names``.
    names : list[str]
        The distinct ids in order of appearance; empty beside ``numbers``.
    respelled : frozenset[str]
        Spellings whose white space within became single spaces.
    """

    numbers: np.ndarray | None = None
    codes: np.ndarray | None = None
    names: list[str] = field(default_factory=list)
    respelled: frozenset[str] = frozenset()

    def __len__(self) -> int:
        column = self.codes if self.numbers is None else self.numbers
        return 0 if column is None else len(column)


class IdTable:
    """Gives each distinct id of one kind a code 0, 1, 2, ... in order of appearance.

    ``respelled`` holds the spellings whose white space within became single spaces.
    """

    def __init__(self, kind: str, names: Iterable[str] = ()) -> None:
        self.kind = kind
        self.names: list[str] = []
        self.respelled: set[str] = set()
        self._by_text: dict[str, int] = {}
        self._by_name: dict[str, int] = {}
        self._by_number = np.full(0, -1, dtype=np.int32)
        for name in names:
            self._code_of_name(name)

    def code(self, text: str) -> int:
        """Return the code of the id written ``text``; raises :class:`RowError` as :func:`clean_id` does."""
        code = self._by_text.get(text)
        if code is None:
            name = clean_id(text, self.kind)
            code = self._by_text[text] = self._code_of_name(name)
            if name != text.strip():
                self.respelled.add(text)
        return code

    def column(self, codes: array) -> IdColumn:
        """A column of ids with these codes."""
        return IdColumn(None, np.array(codes, dtype=np.int64), self.names, frozenset(self.respelled))

    def codes_of(self, column: IdColumn) -> np.ndarray:
        """The codes of a column's ids, int64 [rows]."""
        self.respelled |= column.respelled
        if column.numbers is not None:
            return self._codes_of_numbers(column.numbers)
        places = np.array([self._code_of_name(name) for name in column.names], dtype=np.int64)
        return np.empty(0, dtype=np.int64) if column.codes is None else places[column.codes]

    def _code_of_name(self, name: str) -> int:
        code = self._by_name.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code

    def _codes_of_numbers(self, numbers: np.ndarray) -> np.ndarray:
        if numbers.max(initial=0) >= _LARGEST_LOOKED_UP:
            places, distinct = pd.factorize(numbers)
            codes = [self._code_of_name(str(number)) for number in distinct.tolist()]
            return np.array(codes, dtype=np.int64)[places]
        self._reach(int(numbers.max(initial=0)))
        codes = self._by_number[numbers]
        unknown = codes < 0
        if unknown.any():
            for number in pd.unique(numbers[unknown]).tolist():
                self._by_number[number] = self._code_of_name(str(number))
            codes = self._by_number[numbers]
        return codes.astype(np.int64)

    def _reach(self, number: int) -> None:
        if number >= len(self._by_number):
            more = max(number + 1, 2 * len(self._by_number)) - len(self._by_number)
            self._by_number = np.concatenate([self._by_number, np.full(more, -1, dtype=np.int32)])


def natural_key(name: str) -> tuple:
    """Sort key by which runs of digits compare as numbers: 2 before 10, v2 before v10, 7 before 07."""
    parts = _DIGITS.split(name)
    # As numbers to base 16, which stand in the same order: Python reads no more than 4,300 digits to base 10.
    return [int(part, 16) if place % 2 else part for place, part in enumerate(parts)], len(name), name


def natural_order(names: list[str]) -> np.ndarray:
    """Return the places of ``names`` in natural order; int64 [len(names)]."""
    numbers = plain_numbers(names)
    if numbers is not None:
        return np.argsort(numbers, kind="stable")
    keys = [natural_key(name) for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)


def plain_numbers(names: list[str]) -> np.ndarray | None:
    """Ids as numbers, int64; None where some id is not a whole number in at most 18 digits without a zero
    before them.
    """
    if not all(map(is_plain_number, names)):
        return None
    return np.array(names, dtype=object).astype(np.int64)


def is_plain_number(name: str) -> bool:
    """Whether the id is a whole number below 10^18 as Python writes it."""
    return name.isascii() and name.isdigit() and len(name) <= 18 and (name[0] != "0" or name == "0")
