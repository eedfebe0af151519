"""The world behind the sample dataset: what each video shows, who likes what, and who watched what when.

The factors are written to no file of the release; a benchmark may ask :func:`plan_items` for the truth
that a model has to see in the pixels.
"""

from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "yellow", "green", "cyan", "blue", "pink")
SHAPES = ("disc", "square", "triangle")
DIRECTIONS = ("left", "right", "up", "down")

MIN_LENGTH, MAX_LENGTH = 5, 30
LENGTH_SCALE = 4.6
NEW_EVERY = 4
POPULARITY_HEAD = 14.0
TASTE = {"colour": 2.8, "shape": 2.2, "direction": 0.6}
MAIN_INTEREST = 0.9
STAY_WITH_INTEREST = 0.6

DAY_MS = 86_400_000
FIRST_DAY_MS = 1_672_531_200_000  # 2023-01-01
LAUNCH_DAY, LAST_DAY = 110, 120

# One random stream for each subject: changing how titles are drawn leaves the videos as they were.
ITEM_STREAM, HISTORY_STREAM, TEXT_STREAM, PIXEL_STREAM, SOUND_STREAM = range(5)


@dataclass(frozen=True)
class SampleItem:
    """One video of the sample: its visible factors, and what is not visible.

    ``new`` items are published late: they occur only among the last two interactions of a user.
    """

    item: int
    colour: str
    shape: str
    direction: str
    portrait: bool
    popularity: float
    new: bool


@dataclass(frozen=True)
class Interaction:
    """One row of the pairs file; the timestamp is Unix epoch in milliseconds."""

    user: int
    item: int
    timestamp: int


def stream(seed: int, *subject: int) -> np.random.Generator:
    """Return the random generator of one subject; equal arguments give equal numbers."""
    return np.random.default_rng([seed, *subject])


def plan_items(seed: int = 2023, items: int = 200) -> list[SampleItem]:
    """Return what the videos 1..``items`` of the sample show; the same seed and count give the same list.

    The factors are balanced and independent of each other, of popularity and of the id. Popularity is
    long-tailed: the video of rank r = 0, 1, ... has weight ``1 / (POPULARITY_HEAD + r)``. Every
    ``NEW_EVERY``-th rank is a new item, so that new items are as popular as the others.
    """
    rng = stream(seed, ITEM_STREAM)
    colour, shape, direction = (_balanced(rng, items, values) for values in (COLOURS, SHAPES, DIRECTIONS))
    portrait = _balanced(rng, items, (True, False))
    rank = rng.permutation(items)
    return [
        SampleItem(
            item=row + 1,
            colour=colour[row],
            shape=shape[row],
            direction=direction[row],
            portrait=portrait[row],
            popularity=1 / (POPULARITY_HEAD + float(rank[row])),
            new=bool(rank[row] % NEW_EVERY == NEW_EVERY // 2),
        )
        for row in range(items)
    ]


def _balanced(rng: np.random.Generator, count: int, values: tuple) -> list:
    return [values[k % len(values)] for k in rng.permutation(count)]


def plan_interactions(items: list[SampleItem], users: int, seed: int = 2023) -> list[Interaction]:
    """Return all interactions of users 1..``users`` in random order.

    A user watches no video twice. The last two interactions of each fall after ``LAUNCH_DAY``, when the new
    items are out, and all others before it. No two interactions of one user have the same timestamp.
    """
    rng = stream(seed, HISTORY_STREAM)
    rows = []
    for user in range(1, users + 1):
        history = _watch(rng, items)
        rows += [
            Interaction(user, *pair) for pair in zip(history, _timestamps(rng, len(history)), strict=True)
        ]
    return [rows[k] for k in rng.permutation(len(rows))]


def _watch(rng: np.random.Generator, items: list[SampleItem]) -> list[int]:
    """Draw one user's item ids, oldest first: p(item) ~ popularity * exp(utility to the current interest)."""
    length = min(MIN_LENGTH + int(rng.exponential(LENGTH_SCALE)), MAX_LENGTH, len(items) // 2)
    popularity = np.array([item.popularity for item in items])
    new = np.array([item.new for item in items])
    appeal = [np.exp(_utility(rng, items)) for _ in range(2)]  # to the main interest, to the second
    unseen = np.ones(len(items), dtype=bool)
    history, interest = [], _draw_interest(rng)
    for position in range(length):
        if rng.random() > STAY_WITH_INTEREST:
            interest = _draw_interest(rng)
        available = unseen & ~new if position < length - 2 else unseen
        weight = popularity * appeal[interest] * available
        row = int(rng.choice(len(items), p=weight / weight.sum()))
        unseen[row] = False
        history.append(items[row].item)
    return history


def _draw_interest(rng: np.random.Generator) -> int:
    return int(rng.random() > MAIN_INTEREST)


def _utility(rng: np.random.Generator, items: list[SampleItem]) -> np.ndarray:
    """Return the utility of every item [items] under one interest: one liked colour, direction and shape."""
    liked = {
        "colour": COLOURS[rng.integers(len(COLOURS))],
        "direction": DIRECTIONS[rng.integers(len(DIRECTIONS))],
        "shape": SHAPES[rng.integers(len(SHAPES))],
    }
    return np.array(
        [sum(TASTE[name] for name, value in liked.items() if getattr(item, name) == value) for item in items]
    )


def _timestamps(rng: np.random.Generator, length: int) -> list[int]:
    before = np.sort(rng.integers(0, LAUNCH_DAY * DAY_MS - length, size=length - 2))
    after = np.sort(rng.integers(LAUNCH_DAY * DAY_MS, LAST_DAY * DAY_MS, size=2))
    moments = (
        FIRST_DAY_MS + np.concatenate([before, after]) + np.arange(length)
    )  # the last term parts equal ones
    return moments.tolist()
