"""Answers as the service gives them: the usual ones from arrays, without a DataFrame."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.export.answers import BestUsers, best_items
from recbole_microlens.export.asked import Asked
from recbole_microlens.export.known import Wanted, wanted_histories, wanted_users
from recbole_microlens.export.recommender import Recommender

_PART = 16
"""Users of one part: some tens of milliseconds of a small model."""

_PART_NUMBERS = 4_000_000
"""Scores of one part."""

_PART_SECONDS = 0.05
"""What a part of an audience is to take; its users are as many as that allows."""

_TINY = 1e-12  # of torch's F.normalize


@dataclass(frozen=True)
class Question:
    """What :meth:`Recommender.recommend` takes."""

    users: Sequence[str] | None
    histories: Sequence[Sequence[str]] | None
    k: int
    filter_viewed: bool
    items_to_recommend: Sequence[str] | None
    on_unknown: str
    at: str

    def __len__(self) -> int:
        return len(self.users if self.users is not None else self.histories or ())

    def parts(self, size: int) -> Iterator[Question]:
        """The same for some users or histories at a time."""
        others = (self.k, self.filter_viewed, self.items_to_recommend, self.on_unknown, self.at)
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            users = None if self.users is None else self.users[part]
            histories = None if self.histories is None else self.histories[part]
            yield Question(users, histories, *others)


def recommended(model: Recommender, question: Question) -> Iterator[list[dict[str, Any]]]:
    """The lists of all users or histories, some at a time, in the order in which was asked."""
    first = 0
    size = max(1, min(_PART, _PART_NUMBERS // len(model.items)))
    for part in question.parts(size):
        names = part.users if part.users is not None else range(first, first + len(part))
        first += len(part)
        lists = lists_of(model, part)
        yield [{"user": user, "items": items} for user, items in zip(names, lists, strict=True)]


def lists_of(model: Recommender, question: Question) -> list[list[dict[str, Any]]]:
    """The list of each user or history, all computed together."""
    if question.items_to_recommend is None and question.on_unknown == "error":
        wanted = _wanted(model, question)
        return _described(model, len(wanted), _found(model, wanted.asked, question))
    return _lists_of_frame(model, question)


def _wanted(model: Recommender, question: Question) -> Wanted:
    if question.users is None:
        return wanted_histories(question.histories or [], model.items, question.on_unknown)
    assert model.users is not None
    at, reads_history = question.at, model.reads_history
    return wanted_users(question.users, model.users, model.folder, question.on_unknown, at, reads_history)


def _found(model: Recommender, asked: Asked, question: Question) -> tuple[np.ndarray, ...]:
    """Row, item, score and rank, flat."""
    k = min(question.k, len(model.items) - 1)
    if model.index is None:
        scores = model.scores(asked)
        scores[:, 0] = -torch.inf
        if question.filter_viewed:
            seen_by, seen = asked.pairs()
            scores[seen_by.to(scores.device), seen.to(scores.device)] = -torch.inf
        return best_items(scores, k)
    excluded = None
    if question.filter_viewed:
        bounds, rows = asked.seen.start.tolist(), asked.seen.items.numpy() - 1  # the index has no padding
        excluded = [rows[start:end] for start, end in zip(bounds[:-1], bounds[1:], strict=True)]
    found, best = model.index.search(model.queries(asked).cpu(), k, excluded)
    row, place = (found >= 0).nonzero()
    return row, found[row, place] + 1, best[row, place], place + 1


def _described(model: Recommender, rows: int, found: tuple[np.ndarray, ...]) -> list[list[dict]]:
    lists: list[list[dict]] = [[] for _ in range(rows)]
    ids, titles = model.item_ids, model.titles
    for row, item, score, rank in zip(*(column.tolist() for column in found), strict=True):
        known = score if isfinite(score) else None
        lists[row].append({"item_id": ids[item], "title": titles[item], "score": known, "rank": rank})
    return lists


def _lists_of_frame(model: Recommender, question: Question) -> list[list[dict]]:
    users = None if question.users is None else list(dict.fromkeys(question.users))
    allowed = None if question.items_to_recommend is None else list(question.items_to_recommend)
    others = (question.k, question.filter_viewed, allowed, question.on_unknown, question.at)
    frame = model.recommend(users, question.histories, *others)
    titles = model.titles[model.items.rows(frame["item_id"].tolist())]
    lists: dict[Any, list[dict]] = {}
    for (user, item, score, rank), title in zip(frame.itertuples(index=False), titles, strict=True):
        known = float(score) if isfinite(score) else None
        lists.setdefault(user, []).append({"item_id": item, "title": title, "score": known, "rank": rank})
    names = question.users if question.users is not None else range(len(question))
    return [lists.get(name, []) for name in names]


class Neighbours:
    """The items most like others by the cosine of their embeddings, whose lengths are computed once.

    Parameters
    ----------
    model : Recommender
    """

    def __init__(self, model: Recommender):
        self._model = model
        self._lengths = torch.empty(0)

    def of(self, items: Sequence[str], k: int) -> Iterator[list[dict[str, Any]]]:
        """The lists of all items, some at a time.

        Raises
        ------
        MicroLensError
            The model has no embeddings of items.
        """
        rows = torch.tensor(self._model.items.rows(items), dtype=torch.int64)
        size = max(1, _PART_NUMBERS // len(self._model.items))
        for start, part in zip(range(0, len(rows), size), rows.split(size), strict=True):
            lists = _described(self._model, len(part), self._found(part, k))
            names = items[start : start + size]
            yield [{"item_id": item, "items": found} for item, found in zip(names, lists, strict=True)]

    def _found(self, rows: Tensor, k: int) -> tuple[np.ndarray, ...]:
        table = self._model.item_vectors()
        if len(self._lengths) != len(table):
            new = table[len(self._lengths) :].float().norm(dim=1).clamp(min=_TINY)
            self._lengths = torch.cat([self._lengths.to(new.device), new])
        own = table[rows].float() / self._lengths[rows, None]
        scores = (own @ table.float().T).div_(self._lengths)
        scores[:, 0] = -torch.inf
        scores[torch.arange(len(rows)), rows] = -torch.inf
        return best_items(scores, min(k, len(table) - 1))


class Audience:
    """The users to whom each of some items should be shown, as :meth:`Recommender.audience` finds them.

    Parameters
    ----------
    model : Recommender
        It knows its users.
    items : Sequence of str
        Known ones.
    k : int
    """

    def __init__(self, model: Recommender, items: Sequence[str], k: int):
        self._model = model
        self._items = list(dict.fromkeys(items))
        self._rows = torch.tensor(model.items.rows(self._items), dtype=torch.int64)
        self._best = BestUsers(len(self._rows), k)

    def parts(self) -> Iterator[None]:
        """Look at all users, some at a time, as many as are done in :data:`_PART_SECONDS`."""
        users = self._model.users
        assert users is not None
        known, folder = self._model.reads_history, self._model.folder
        everyone = wanted_users("all", users, folder, "skip", "now", known)
        start, size = 0, 1
        most = max(1, _PART_NUMBERS // len(self._model.items))
        while start < len(everyone):
            began = time.perf_counter()
            part = everyone.part(slice(start, start + size))
            self._best.add(self._model.shares(part, self._rows).T, part.asked.users)
            start += size
            seconds = time.perf_counter() - began
            size = min(most, max(1, int(size * min(2.0, _PART_SECONDS / max(seconds, 1e-6)))))
            yield

    def lists(self) -> list[dict[str, Any]]:
        """What was found, when all parts are done."""
        users = self._model.users
        assert users is not None
        frame = self._best.frame(np.array(self._items, dtype=object), users.user_ids)
        lists: dict[str, list[dict]] = {item: [] for item in self._items}
        for item, user, score, rank in frame.itertuples(index=False):
            lists[item].append({"user_id": user, "score": float(score), "rank": int(rank)})
        return [{"item_id": item, "users": found} for item, found in lists.items()]
