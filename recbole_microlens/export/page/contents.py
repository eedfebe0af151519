"""What a model says for its page: users with their lists, videos with their neighbours, new videos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor

from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.ranks import target_ranks
from recbole_microlens.export.asked import Asked
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.page.shown import Item, Landing, NewVideo, Place, ShownUser
from recbole_microlens.export.recommender import Recommender

LONGEST_LIST = 100
HISTORY_SHOWN, ALIKE_SHOWN, VIDEOS_WITH_ALIKE = 9, 8, 6
_POPULAR_SHARE = 0.1


class Contents:
    """Asks a model for what its page shows.

    Parameters
    ----------
    model : Recommender
    k : int
        Items recommended to each user.

    Raises
    ------
    MicroLensError
        ``k`` is out of range.
    """

    def __init__(self, model: Recommender, k: int):
        if not 1 <= k <= LONGEST_LIST:
            raise MicroLensError(f"k: {k} recommendations do not fit on a page: give 1 to {LONGEST_LIST}.")
        self.model = model
        self.k = k
        counts = model.catalogue.train_count
        # At least one: an item that training has not seen is never popular.
        self._popular_from = max(1, int(torch.quantile(counts[1:].double(), 1 - _POPULAR_SHARE).ceil()))

    def item(self, row: int) -> Item:
        """An item by internal id."""
        counts = self.model.catalogue.train_count
        count = int(counts[row]) if row < len(counts) else None
        title = str(self.model.titles[row])
        return Item(str(self.model.item_ids[row]), title, count, (count or 0) >= self._popular_from)

    def users(self, user_ids: Sequence[str]) -> list[ShownUser]:
        """Users by original id, as the test of the run asked for them."""
        if not user_ids:
            return []
        asked = self.model.asked_by(user_ids, at="test")
        lists = _by(self.model.recommend(users=user_ids, k=self.k, at="test"), "user_id")
        return [
            self._user(user, asked.rows(torch.tensor([row])), lists.get(user))
            for row, user in enumerate(user_ids)
        ]

    def _user(self, user_id: str, asked: Asked, listed: pd.DataFrame | None) -> ShownUser:
        history, target = asked.seen.items.tolist(), self._target(user_id)
        places = [] if listed is None else self.places(listed, "item_id", target)
        rank = None
        if target is not None and target not in history:
            rank = int(self._ranks(asked, self._rows(listed), [target])[0])
        return ShownUser(
            user_id=user_id,
            history=[self.item(row) for row in history[-HISTORY_SHOWN:]],
            watched=len(history),
            places=places,
            next=None if target is None else self.item(target),
            next_rank=rank,
            candidates=self._candidates(asked),
        )

    def _target(self, user_id: str) -> int | None:
        users = self.model.users
        assert users is not None  # or none would be shown
        row = users.row_of[user_id]
        before, count = int(users.before_test[row]), int(users.count[row])
        return int(users.seen.items[int(users.seen.start[row]) + before]) if before < count else None

    def _rows(self, listed: pd.DataFrame | None) -> list[int]:
        return [] if listed is None else self.model.rows_of(listed["item_id"].tolist())

    def _candidates(self, asked: Asked) -> int:
        return len(self.model.item_ids) - 1 - len(asked.seen.items.unique())

    def _scores(self, asked: Asked) -> Tensor:
        """Of one user [1, n_items], minus infinity where nothing is recommended."""
        scores = self.model.scores(asked)
        scores[:, 0] = -torch.inf
        scores[:, asked.seen.items.to(scores.device)] = -torch.inf
        return scores

    def _ranks(self, asked: Asked, top: list[int], rows: list[int]) -> list[int]:
        """Ranks of some items for one user, as the test of a run gives them; ``top`` is the user's list."""
        scores = self._scores(asked)
        items = torch.tensor(rows, device=scores.device)
        best = torch.tensor([top], dtype=torch.int64, device=scores.device)
        row = torch.zeros_like(items[:1])
        return [int(target_ranks(scores, best, row, item.view(1))) for item in items]

    def places(self, listed: pd.DataFrame, column: str, target: int | None = None) -> list[Place]:
        """A list as :class:`Recommender` gives it, with the items that it names."""
        rows = self.model.rows_of(listed[column].tolist())
        return [
            Place(self.item(row), int(rank), float(score), row == target)
            for row, rank, score in zip(rows, listed["rank"], listed["score"], strict=True)
        ]

    def alike(self, item_ids: Sequence[str]) -> list[tuple[Item, list[Place]]]:
        """Items and their neighbours."""
        if not item_ids:
            return []
        found = _by(self.model.similar_items(item_ids, ALIKE_SHOWN), "item_id")
        rows = self.model.rows_of(item_ids)
        return [
            (self.item(row), self.places(found[item], "similar_item_id"))
            for row, item in zip(rows, item_ids, strict=True)
            if item in found
        ]

    def worth_a_look(self, users: Iterable[ShownUser]) -> list[str]:
        """Items whose neighbours are shown: the first recommendation of each user, else the most watched."""
        first = [user.places[0].item.item_id for user in users if user.places]
        if not first:
            order = self.model.catalogue.train_count[1:].argsort(descending=True, stable=True) + 1
            first = [str(self.model.item_ids[row]) for row in order[:VIDEOS_WITH_ALIKE].tolist()]
        return list(dict.fromkeys(first))[:VIDEOS_WITH_ALIKE]

    def new_videos(self, items: Sequence[NewItem], cold: str | None, users: list[str]) -> list[NewVideo]:
        """Add items to the model, and see where they land for some users, as :meth:`users` asks for them."""
        ids = self.model.add_items({item.item_id: item for item in items}, cold)
        landings = self._landings(ids, users)
        audience = {}
        if self.model.users is not None:
            audience = _by(self.model.audience(ids, self.k), "item_id")
        return [
            NewVideo(
                item=item,
                landings=landings[item.item_id],
                alike=alike,
                audience=audience[item.item_id]["user_id"].tolist() if item.item_id in audience else [],
            )
            for item, alike in self.alike(ids)
        ]

    def _landings(self, ids: list[str], users: list[str]) -> dict[str, list[Landing]]:
        landings: dict[str, list[Landing]] = {item: [] for item in ids}
        if not users:
            return landings
        rows = self.model.rows_of(ids)
        asked = self.model.asked_by(users, at="test")
        lists = _by(self.model.recommend(users=users, k=self.k, at="test"), "user_id")
        for number, user in enumerate(users):
            one = asked.rows(torch.tensor([number]))
            scores = self.model.scores(one)[0, rows].tolist()
            ranks = self._ranks(one, self._rows(lists.get(user)), rows)
            for item, rank, score in zip(ids, ranks, scores, strict=True):
                landings[item].append(Landing(user, rank, self._candidates(one), score))
        return landings


def _by(table: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
    return {str(key): rows for key, rows in table.groupby(column, sort=False)}
