"""What the service says of its model, its items and its users, without asking the model."""

from __future__ import annotations

from typing import Any

from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.service.arrivals import Arrivals
from recbole_microlens.export.service.problems import Refused, unknown


class About:
    """Facts of a model and of what was added to it.

    Parameters
    ----------
    model : Recommender
    arrivals : Arrivals
    """

    def __init__(self, model: Recommender, arrivals: Arrivals):
        self._model, self._arrivals = model, arrivals
        self._known = model.catalogue.row_of

    def model(self) -> dict[str, Any]:
        """The answer to ``GET /model``."""
        reason = self._arrivals.reason_against()
        return {
            "model": self._model.config["model"],
            "dataset": self._model.config["dataset"],
            "looks_at": self._arrivals.looks_at,
            "can_add_items": reason is None,
            "reason": reason,
            "items": self.items,
            "users": self._count_of_users(),
            "index": self.index(),
        }

    def health(self) -> dict[str, Any]:
        """The answer to ``GET /health``."""
        new = len(self._arrivals.titles)
        return {"status": "ok", "items": self.items, "new_items": new, "index": self.index()}

    def index(self) -> dict[str, Any]:
        """How items are searched."""
        index = self._model.index
        if index is None or index.recall is None:
            return {"kind": "exact", "recall": 1.0}
        return {"kind": index.kind, "recall": round(float(index.recall), 4)}

    @property
    def items(self) -> int:
        """Items that are ranked."""
        return len(self._known) + len(self._arrivals.titles)

    def item(self, item_id: str) -> dict[str, Any]:
        """The answer to ``GET /items/{item_id}``."""
        self.require_items([item_id])
        row = self._known.get(item_id)
        count = 0 if row is None else int(self._model.catalogue.train_count[row])
        title = self._title(item_id)
        return {"item_id": item_id, "title": title, "train_count": count, "is_new": row is None}

    def users(self, limit: int) -> dict[str, Any]:
        """The answer to ``GET /users``."""
        users = self._model.users
        first = [] if users is None else users.user_ids[1 : limit + 1].tolist()
        return {"users": first, "total": self._count_of_users()}

    def user(self, user_id: str) -> dict[str, Any]:
        """The answer to ``GET /users/{user_id}``."""
        self.require_users([user_id])
        users = self._model.users
        assert users is not None
        row = users.row_of[user_id]
        start, before, count = (int(of[row]) for of in (users.seen.start, users.before_test, users.count))
        seen = [self._titled(item) for item in users.seen.items[start : start + before].tolist()]
        after = self._titled(int(users.seen.items[start + before])) if before < count else None
        return {"user_id": user_id, "history": seen, "next": after}

    def require_items(self, items: list[str]) -> None:
        """Refuse items that are not known."""
        missing = [item for item in items if item not in self._known and item not in self._arrivals.titles]
        if missing:
            raise unknown("item", missing)

    def require_users(self, users: list[str]) -> None:
        """Refuse users that are not known."""
        known = self._model.users
        if known is None:
            raise Refused(404, "This run does not say who its users are: ask with histories.")
        missing = [user for user in users if user not in known.row_of]
        if missing:
            raise unknown("user", missing)

    def warm_up(self) -> None:
        """Compute what is computed once."""
        users = self._model.users
        if users is not None:
            _ = users.row_of, users.before_test, users.count

    def _count_of_users(self) -> int:
        return 0 if self._model.users is None else len(self._model.users.user_ids) - 1

    def _title(self, item_id: str) -> str:
        row = self._known.get(item_id)
        return self._arrivals.titles[item_id] if row is None else self._model.catalogue.titles[row]

    def _titled(self, row: int) -> dict[str, str]:
        catalogue = self._model.catalogue
        return {"item_id": catalogue.item_ids[row], "title": catalogue.titles[row]}
