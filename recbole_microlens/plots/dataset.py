"""Statistics of a dataset: popularity, histories and durations (Figure 3 of the MicroLens paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recbole_microlens.plots.style import COLOURS, drawing, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_BINS = 40
_POINTS = 300  # of a line with a point for each item


def dataset_statistics(
    item_counts: np.ndarray, user_counts: np.ndarray, durations: np.ndarray | None
) -> Figure:
    """Item popularity by rank, users by the length of their history, and videos by their duration.

    Parameters
    ----------
    item_counts, user_counts : np.ndarray, int
        Interactions of each item, and of each user.
    durations : np.ndarray, optional
        Of each video, in seconds; without it there are two panels.
    """
    with drawing():
        number = 2 if durations is None else 3
        figure, axes = panels(number, 8 + 38 * number)
        _popularity(axes[0], np.sort(item_counts)[::-1])
        _lengths(axes[1], user_counts)
        if durations is not None:
            _durations(axes[2], durations)
        return figure


def _popularity(axes, counts: np.ndarray) -> None:
    ranks = np.unique(np.geomspace(1, len(counts), _POINTS).astype(int))
    axes.plot(ranks, counts[ranks - 1], color=COLOURS[0])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rank of the item")
    axes.set_ylabel("interactions")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    axes.set_title(f"(a) {len(counts):,} items, median {np.median(counts):g}", loc="left")
    axes.grid()


def _lengths(axes, counts: np.ndarray) -> None:
    longest = int(np.quantile(counts, 0.99))
    shown = np.minimum(counts, longest)
    lengths, users = np.unique(shown, return_counts=True)
    axes.bar(lengths, users, width=0.85, color=COLOURS[0])
    axes.set_xlabel(_length_axis(counts, longest))
    axes.set_ylabel("users")
    axes.set_title(f"(b) {len(counts):,} users, median {np.median(counts):g}", loc="left")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y")


def _length_axis(counts: np.ndarray, longest: int) -> str:
    beyond = int((counts > longest).sum())
    said = f" ({beyond:,} longer ones at {longest})" if beyond else ""
    return f"interactions of the user{said}"


def _durations(axes, seconds: np.ndarray) -> None:
    bins = min(_MOST_BINS, max(int(np.sqrt(len(seconds))), 1))
    axes.hist(seconds, bins=bins, color=COLOURS[0], edgecolor="white", linewidth=0.2)
    axes.axvline(seconds.mean(), color=COLOURS[1], linestyle="--", linewidth=0.9)
    axes.set_xlim(left=0)
    axes.set_xlabel("duration of the video in seconds (dashed: mean)")
    axes.set_ylabel("videos")
    middle = f"median {np.median(seconds):.3g} s, mean {seconds.mean():.3g} s"
    axes.set_title(f"(c) {len(seconds):,} videos, {middle}", loc="left")
    axes.grid(axis="y")
