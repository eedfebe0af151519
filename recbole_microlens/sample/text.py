"""The words and counts of the sample dataset: titles, tags, likes and views."""

import numpy as np

from recbole_microlens.sample.world import TEXT_STREAM, SampleItem, stream

WORDS = {
    "red": ("red", "crimson", "scarlet"),
    "yellow": ("yellow", "golden", "amber"),
    "green": ("green", "emerald", "lime"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "pink": ("pink", "magenta", "fuchsia"),
    "blue": ("blue", "azure", "navy"),
    "disc": ("disc", "ball", "circle"),
    "square": ("square", "box", "tile"),
    "triangle": ("triangle", "pyramid", "wedge"),
    "left": ("drifting left", "heading west", "off to the left"),
    "right": ("drifting right", "heading east", "off to the right"),
    "up": ("rising", "climbing", "going up"),
    "down": ("falling", "sinking", "going down"),
}
UNSAID = {"colour": "lovely", "shape": "thing", "direction": "on the move"}
MENTIONED = 0.75
TEMPLATES = (
    "{colour} {shape} {direction}",
    "this {colour} {shape}, {direction}",
    "{direction}: the {colour} {shape}",
    'the "{shape}" everyone talks about, {colour} and {direction}',
    "watch this {colour} {shape} {direction}",
)
ENDINGS = (
    "",
    "",
    "",
    ", slowly",
    ", part 2",
    " #relax",
    " (must see)",
    " after dark",
    ' - "so calm"',
    " with friends",
)

CATEGORIES = {"disc": "Ball games", "square": "Building blocks", "triangle": "Paper folding"}
OTHER_CATEGORIES = ("Everyday life", "Travel")
CATEGORY_FITS = 0.7


def write_title(item: SampleItem, seed: int) -> str:
    """Return a title that hints at the content: synonyms, noise words, a fact left out now and then."""
    rng = stream(seed, TEXT_STREAM, item.item)
    said = {
        fact: _pick(rng, WORDS[getattr(item, fact)]) if rng.random() < MENTIONED else unsaid
        for fact, unsaid in UNSAID.items()
    }
    title = _pick(rng, TEMPLATES).format(**said) + _pick(rng, ENDINGS)
    return title[0].upper() + title[1:]


def choose_category(item: SampleItem, seed: int) -> str:
    """Return the item's tag: the one of its shape in seven cases of ten, else one that says nothing."""
    rng = stream(seed, TEXT_STREAM, item.item, 1)
    return CATEGORIES[item.shape] if rng.random() < CATEGORY_FITS else _pick(rng, OTHER_CATEGORIES)


def count_likes_and_views(item: SampleItem, seed: int) -> tuple[int, int]:
    """Return likes and views; both follow the item's popularity, with noise."""
    rng = stream(seed, TEXT_STREAM, item.item, 2)
    views = round(1_000_000 * item.popularity * rng.lognormal(0, 0.4))
    return round(views * rng.uniform(0.02, 0.1)), views


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[rng.integers(len(choices))]
