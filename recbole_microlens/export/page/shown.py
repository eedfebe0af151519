"""What stands on a page: items, places in lists, users, and new videos."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """An item as a page shows it.

    Attributes
    ----------
    train_count : int, optional
        Training interactions; ``None`` for an item that was added.
    is_popular : bool
        Among the tenth of the items with most training interactions.
    """

    item_id: str
    title: str
    train_count: int | None
    is_popular: bool

    @property
    def name(self) -> str:
        return self.title or f"Video {self.item_id}"


@dataclass(frozen=True)
class Place:
    """An item in a list, with its rank from 1 on; ``is_next`` where it is what the user watched next."""

    item: Item
    rank: int
    score: float
    is_next: bool = False


@dataclass(frozen=True)
class ShownUser:
    """A user, as the test of the run asked for them.

    Attributes
    ----------
    history : list of Item
        The latest, oldest first.
    watched : int
        Length of the whole history.
    places : list of Place
        What is recommended.
    next : Item, optional
        The test target.
    next_rank : int, optional
        Its rank among ``candidates``; ``None`` where it is in the history, and so is not recommended.
    candidates : int
        Items that the user has not seen.
    """

    user_id: str
    history: list[Item]
    watched: int
    places: list[Place]
    next: Item | None
    next_rank: int | None
    candidates: int


@dataclass(frozen=True)
class Landing:
    """Where a new item stands for a user: its rank, of how many, and its score."""

    user_id: str
    rank: int
    candidates: int
    score: float


@dataclass(frozen=True)
class NewVideo:
    """An item that was added, where it lands, and what it is like.

    Attributes
    ----------
    audience : list of str
        Users to show it to, best first.
    """

    item: Item
    landings: list[Landing]
    alike: list[Place]
    audience: list[str]
