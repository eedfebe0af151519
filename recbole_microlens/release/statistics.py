"""Sizes and distributions of a converted release, beside the published figures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

FEWEST_INTERACTIONS = 5
"""Users with fewer are dropped by a run: ``user_inter_num_interval`` in ``properties/overall.yaml``."""

BIN_STARTS = (1, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class PublishedSizes:
    """Sizes of a release as published (arXiv 2309.15379, Table 1; 50k: the dataset's site)."""

    users: int
    items: int
    interactions: int

    @property
    def sparsity(self) -> float:
        """Share of the user-item matrix that is empty."""
        return 1.0 - self.interactions / (self.users * self.items)


PUBLISHED = {
    "microlens-50k": PublishedSizes(50_000, 19_220, 359_708),
    "microlens-100k": PublishedSizes(100_000, 19_738, 719_405),
    "microlens-1m": PublishedSizes(1_000_000, 91_402, 9_095_620),
    "microlens": PublishedSizes(34_492_051, 1_142_528, 1_006_528_709),
}


@dataclass(frozen=True)
class Distribution:
    """How a count is spread over users (sequence length) or items (popularity).

    ``bins`` holds (label, number) pairs; the labels are ranges of the count, such as ``5-9``.
    """

    minimum: int
    quartile_1: float
    median: float
    quartile_3: float
    mean: float
    maximum: int
    bins: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Statistics:
    """Sizes of a dataset and the spread of its sequence lengths and item popularities."""

    users: int
    items: int
    interactions: int
    sparsity: float
    sequence_length: Distribution
    item_popularity: Distribution

    def to_dict(self) -> dict:
        """Return plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ShortUsers:
    """Users with fewer than :data:`FEWEST_INTERACTIONS` interactions, and how many these are of all."""

    users: int
    interactions: int


def short_users(lengths: np.ndarray) -> ShortUsers:
    """Count the users whom a run drops, given how many interactions each has, int [users]."""
    short = lengths[lengths < FEWEST_INTERACTIONS]
    return ShortUsers(len(short), int(short.sum()))


def describe(lengths: np.ndarray, popularity: np.ndarray, repeats: int = 0) -> Statistics:
    """Describe interactions.

    Parameters
    ----------
    lengths : np.ndarray [users], int
        How many interactions each user has; at least one.
    popularity : np.ndarray [items], int
        How many each item has; at least one.
    repeats : int, default 0
        How many interactions are not the first of their user with their item.
    """
    interactions = int(lengths.sum())
    return Statistics(
        users=len(lengths),
        items=len(popularity),
        interactions=interactions,
        sparsity=1.0 - (interactions - repeats) / (len(lengths) * len(popularity)),
        sequence_length=_distribution(lengths),
        item_popularity=_distribution(popularity),
    )


def _distribution(counts: np.ndarray) -> Distribution:
    quartile_1, median, quartile_3 = np.percentile(counts, [25, 50, 75])
    return Distribution(
        minimum=int(counts.min()),
        quartile_1=float(quartile_1),
        median=float(median),
        quartile_3=float(quartile_3),
        mean=float(counts.mean()),
        maximum=int(counts.max()),
        bins=_bins(counts),
    )


def _bins(counts: np.ndarray) -> tuple[tuple[str, int], ...]:
    numbers = np.histogram(counts, bins=[*BIN_STARTS, np.inf])[0]
    labels = [f"{start}-{end - 1}" for start, end in zip(BIN_STARTS, BIN_STARTS[1:], strict=False)]
    return tuple(zip([*labels, f"{BIN_STARTS[-1]}+"], numbers.tolist(), strict=True))


def published_sizes(dataset: str) -> PublishedSizes | None:
    """Return the published sizes of ``dataset`` (``microlens-100k``, in any case), or None if not known."""
    return PUBLISHED.get(dataset.lower())


def differences(statistics: Statistics, dataset: str) -> list[str]:
    """Return a line for each size that is not the published one; empty where all agree or none is known."""
    published = published_sizes(dataset)
    if published is None:
        return []
    return [
        f"{name}: {getattr(statistics, name):,} here, {getattr(published, name):,} published "
        f"({getattr(statistics, name) - getattr(published, name):+,})"
        for name in ("users", "items", "interactions")
        if getattr(statistics, name) != getattr(published, name)
    ]


def format_table(statistics: Statistics, dataset: str) -> str:
    """Return the statistics as text: sizes beside the published ones, what differs, both distributions."""
    parts = [
        *_size_lines(statistics, published_sizes(dataset)),
        *_difference_lines(statistics, dataset),
        "",
        *_distribution_lines(statistics),
    ]
    return "\n".join(parts)


def _size_lines(statistics: Statistics, published: PublishedSizes | None) -> list[str]:
    rows = [("", "here", "published")]
    for name in ("users", "items", "interactions"):
        rows.append(
            (name, f"{getattr(statistics, name):,}", f"{getattr(published, name):,}" if published else "-")
        )
    rows.append(("sparsity", f"{statistics.sparsity:.4%}", f"{published.sparsity:.4%}" if published else "-"))
    return _aligned(rows)


def _difference_lines(statistics: Statistics, dataset: str) -> list[str]:
    if published_sizes(dataset) is None:
        return [f"No sizes are published for a dataset named {dataset!r}."]
    lines = differences(statistics, dataset)
    if not lines:
        return ["All sizes are the published ones."]
    return ["Differs from the published sizes:", *(f"  {line}" for line in lines)]


def _distribution_lines(statistics: Statistics) -> list[str]:
    both = {
        "sequence length": statistics.sequence_length,
        "item popularity": statistics.item_popularity,
    }
    summary: list[tuple[str, ...]] = [("", "min", "25%", "median", "75%", "mean", "max")]
    for name, spread in both.items():
        figures = (spread.quartile_1, spread.median, spread.quartile_3, spread.mean)
        summary.append((name, str(spread.minimum), *(f"{x:.6g}" for x in figures), str(spread.maximum)))
    bins = [("interactions", *(label for label, _ in statistics.sequence_length.bins))]
    bins.append(("users", *(f"{number:,}" for _, number in statistics.sequence_length.bins)))
    bins.append(("items", *(f"{number:,}" for _, number in statistics.item_popularity.bins)))
    return [*_aligned(summary), "", *_aligned(bins)]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in rows
    ]
