"""The original ids that users write, and the numbers that a model knows them by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.errors import MicroLensError, did_you_mean, printable
from recbole_microlens.export.asked import Asked, asked_by_histories, asked_by_users
from recbole_microlens.export.catalogue import Catalogue, Users

ON_UNKNOWN = ("error", "popular", "skip")
_SHOWN, _COMPARED = 5, 1000


class KnownItems:
    """The items that are ranked: those of a run, and those that were added.

    Parameters
    ----------
    catalogue : Catalogue
    folder : Path
        Of the run, for messages.

    Attributes
    ----------
    ids, titles : np.ndarray [n_items] of str
        By internal id; 0 is padding.
    """

    def __init__(self, catalogue: Catalogue, folder: Path):
        self.ids, self.titles = catalogue.item_ids, catalogue.titles
        self._row_of = dict(catalogue.row_of)
        self._folder = folder

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, item: str) -> bool:
        return item in self._row_of

    def rows(self, items: Sequence, on_unknown: str = "error") -> list[int]:
        """Internal ids of items; unknown ones are an error, or left out where ``on_unknown`` is another word.

        Raises
        ------
        MicroLensError
            An item is unknown, or something is no id.
        """
        if isinstance(items, str) or not isinstance(items, Iterable):
            raise MicroLensError(f"items: {items!r} is not a list. Give a list of ids.")
        ids = [id_of(item, "item") for item in items]
        unknown = [item for item in ids if item not in self._row_of]
        if unknown and on_unknown == "error":
            near = did_you_mean(unknown[0], self.ids[1 : _COMPARED + 1].tolist())
            raise MicroLensError(
                f"{some(unknown)}: no such item in {self._folder}.{near} Add it as new, or leave it out."
            )
        return [self._row_of[item] for item in ids if item in self._row_of]

    def add(self, ids: list[str], titles: list[str]) -> None:
        """Put more items behind those that are there."""
        self._row_of |= {item: row for row, item in enumerate(ids, start=len(self.ids))}
        self.ids = np.concatenate([self.ids, np.array(ids, dtype=object)])
        self.titles = np.concatenate([self.titles, np.array(titles, dtype=object)])


@dataclass(frozen=True)
class Wanted:
    """Who is asked for.

    Attributes
    ----------
    names : np.ndarray [B]
        What each is called in the answer: the original id of a user, the place of a history.
    asked : Asked
        The same by internal ids.
    is_known : Tensor [B], bool
        Whether the model can answer for them.
    """

    names: np.ndarray
    asked: Asked
    is_known: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def part(self, rows: slice) -> Wanted:
        """Some of them."""
        which = torch.arange(len(self.names))[rows]
        return Wanted(self.names[rows], self.asked.rows(which), self.is_known[rows])

    def parts(self, size: int) -> Iterator[Wanted]:
        """All of them, at most ``size`` at a time."""
        return (self.part(slice(start, start + size)) for start in range(0, len(self), size))


def wanted_users(
    users: Sequence | str, known: Users, folder: Path, on_unknown: str, at: str, reads_history: bool
) -> Wanted:
    """Users by original id, or ``'all'``; a user without a history is unknown to a model that reads it.

    Raises
    ------
    MicroLensError
        One is unknown and ``on_unknown`` is ``error``, or something is no id.
    """
    if isinstance(users, str):
        if users != "all":
            raise MicroLensError(f"users: {users!r} is one word. Give a list of ids, or 'all'.")
        rows, names = torch.arange(1, len(known.user_ids)), known.user_ids[1:]
    else:
        names = np.array([id_of(user, "user") for user in users], dtype=object)
        rows = torch.tensor([known.row_of.get(name, 0) for name in names.tolist()], dtype=torch.int64)
    asked = asked_by_users(known, rows, at)
    is_known = rows > 0
    if reads_history:
        is_known &= asked.lengths > 0
    if on_unknown == "error" and not bool(is_known.all()):
        unknown = names[~is_known.numpy()].tolist()
        near = did_you_mean(unknown[0], known.user_ids[1 : _COMPARED + 1].tolist())
        raise MicroLensError(
            f"{some(unknown)}: no such user in {folder}, or none with a history.{near} A run drops users "
            "with too few interactions. Set on_unknown to popular or skip, or give a history."
        )
    return Wanted(names, asked, is_known)


def wanted_histories(histories: Sequence[Sequence], items: KnownItems, on_unknown: str) -> Wanted:
    """Histories of original ids, oldest first.

    Raises
    ------
    MicroLensError
        One is empty, or an item of it is unknown, and ``on_unknown`` is ``error``.
    """
    if isinstance(histories, str) or any(isinstance(history, str) for history in histories):
        raise MicroLensError("histories: give a list of lists of item ids, oldest first.")
    asked = asked_by_histories([items.rows(history, on_unknown) for history in histories])
    is_known = asked.lengths > 0
    if on_unknown == "error" and not bool(is_known.all()):
        first = int((~is_known).nonzero()[0])
        raise MicroLensError(
            f"histories: number {first} (from 0 on) is empty, and the model ranks by what was seen. Set "
            "on_unknown to popular or skip, or leave it out."
        )
    return Wanted(np.arange(len(asked)), asked, is_known)


def whole_number(value: Any, name: str) -> int:
    """A number from 1 on, or a :class:`MicroLensError`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise MicroLensError(f"{name}: {value!r} is not a whole number from 1 on.")
    return int(value)


def one_of(value: Any, words: Iterable[str], name: str) -> str:
    """One of some words, or a :class:`MicroLensError`."""
    words = list(words)
    if value not in words:
        raise MicroLensError(f"{name}: {value!r} is none of {', '.join(words)}.")
    return value


def id_of(value: Any, what: str) -> str:
    """An id as the run knows it: a word, or a whole number.

    Raises
    ------
    MicroLensError
        It is neither.
    """
    if isinstance(value, str | int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise MicroLensError(f"{value!r} is not the id of a {what}: give a word or a whole number.")


def some(ids: Sequence[str]) -> str:
    """The first few of some ids, for a message."""
    shown = ", ".join(printable(item)[:50] for item in ids[:_SHOWN])
    return shown + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
