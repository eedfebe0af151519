"""Whom and what a page is asked to show: users that are drawn, and new items from files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.export.given_items import NewItem, items_given
from recbole_microlens.export.recommender import Recommender

MOST_USERS, MOST_NEW = 200, 50
_SEED = 2020


def drawn_users(model: Recommender, count: int) -> list[str]:
    """Some users with a test target, drawn always alike, in the order of their internal ids; fewer where
    fewer have one.

    Raises
    ------
    MicroLensError
        ``count`` is out of range.
    """
    if not 1 <= count <= MOST_USERS:
        raise MicroLensError(f"users: {count} do not fit on a page: give 1 to {MOST_USERS}.")
    users = model.users
    if users is None:
        return []
    can_be_asked = users.before_test > 0
    can_be_asked[0] = False
    has_target = can_be_asked & (users.before_test < users.count)
    rows = (has_target if has_target.any() else can_be_asked).nonzero()[:, 0].numpy()
    drawn = np.random.default_rng(_SEED).permutation(rows)[:count]
    return [str(users.user_ids[row]) for row in np.sort(drawn)]


def new_items(model: Recommender, paths: Sequence[Path], cold: str | None) -> list[NewItem]:
    """The new items of some files and folders, which the model can rank.

    Raises
    ------
    MicroLensError
        The model ranks no new items, a path holds none, one is in two of them, or they are more than a page
        shows.
    """
    if not paths:
        return []
    model.require_new_items(cold)
    items = [
        item for path in paths for item in items_given(path, model.encoder.fields, model.encoder.template)
    ]
    counts = Counter(item.item_id for item in items)
    twice = [item for item, count in counts.items() if count > 1]
    if twice:
        raise MicroLensError(f"{printable(twice[0])} is given twice as a new item. Leave one out.")
    if len(items) > MOST_NEW:
        raise MicroLensError(f"{len(items)} new videos do not fit on a page: give {MOST_NEW} at most.")
    return items
