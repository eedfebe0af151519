"""Encoders: accuracy on Kinetics beside accuracy of recommendation (Figure 4 of the MicroLens paper)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scipy.stats import spearmanr

from recbole_microlens.plots.style import COLOURS, GREY, MARKERS, drawing, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODES = {"frozen": "frozen", "top": "top layers trained", "full": "all trained"}
_OWN = "own runs"


@dataclass(frozen=True)
class EncoderRow:
    """A row of the picture.

    Attributes
    ----------
    name : str
        The paper's name of the encoder.
    kinetics : float
        Top-5 accuracy on Kinetics, in percent.
    published : dict[str, float]
        The paper's accuracy of recommendation by mode of training, in percent.
    own : list[float]
        That of runs with this encoder, in percent.
    """

    name: str
    kinetics: float
    published: dict[str, float]
    own: list[float] = field(default_factory=list)


def encoder_accuracies(rows: list[EncoderRow], metric: str) -> Figure:
    """Encoders from the least to the most accurate on Kinetics: their accuracy there on the left, that of
    recommendation on the right, and how far the orders agree.
    """
    rows = sorted(rows, key=lambda row: row.kinetics)
    with drawing():
        figure, (left, right) = panels(1, 30 + 4.6 * len(rows), 2, sharey=True, width_ratios=(2, 3))
        places = range(len(rows))
        left.plot([row.kinetics for row in rows], places, "-", color=GREY, linewidth=0.8)
        left.plot([row.kinetics for row in rows], places, "o", color=COLOURS[6], markersize=3)
        for number, (mode, words) in enumerate(MODES.items()):
            known = [(row.published[mode], place) for place, row in enumerate(rows) if mode in row.published]
            if known:
                right.plot(
                    *zip(*known, strict=True),
                    MARKERS[number],
                    color=COLOURS[number],
                    label=f"{words} ({_agreement(rows, mode)})",
                )
        own = [(value, place) for place, row in enumerate(rows) for value in row.own]
        if own:
            right.plot(
                *zip(*own, strict=True), "*", color=COLOURS[4], markeredgecolor="black", markersize=7,
                markeredgewidth=0.4, label=_OWN,
            )  # fmt: skip
        left.set_yticks(places, [row.name for row in rows])
        left.set_ylim(-0.6, len(rows) - 0.4)
        left.set_xlabel("Kinetics, top-5\naccuracy (%)")
        right.set_xlabel(f"recommendation,\n{metric} (%)")
        right.set_xlim(left=0)
        for axes in (left, right):
            axes.grid(axis="both")
            axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside upper right", ncols=1, handletextpad=0.4)
        return figure


def _agreement(rows: list[EncoderRow], mode: str) -> str:
    """Spearman's rank correlation of the two accuracies."""
    both = [(row.kinetics, row.published[mode]) for row in rows if mode in row.published]
    if len(both) < 3:
        return "too few to correlate"
    return f"rank correlation {spearmanr(*zip(*both, strict=True)).statistic:+.2f}"
