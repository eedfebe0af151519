"""Training curves: the loss and the validation metric of each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recbole_microlens.plots.style import COLOURS, LINES, MARKERS, drawing, legend_above, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """What training recorded.

    Attributes
    ----------
    label : str
        Of the run.
    losses : list[float]
        The mean loss of each epoch.
    valid : list[tuple[int, float]]
        (epoch, metric) of each validation.
    best : int | None
        The epoch whose model is kept.
    """

    label: str
    losses: list[float]
    valid: list[tuple[int, float]]
    best: int | None = None


def training_curves(curves: list[Curve], metric: str) -> Figure:
    """Loss above, validation metric below, over epochs; the epoch that is kept has a ring.

    Losses of different kinds (a softmax over other candidates, another loss) have other scales: each curve is
    drawn as it is.
    """
    with drawing():
        figure, (above, below) = panels(2, 92, sharex=True)
        for number, curve in enumerate(curves):
            look = {
                "color": COLOURS[number % len(COLOURS)],
                "linestyle": LINES[number % len(LINES)],
                "marker": MARKERS[number % len(MARKERS)],
                "markevery": max(len(curve.losses) // 8, 1),
            }
            above.plot(range(len(curve.losses)), curve.losses, label=curve.label, **look)
            epochs, scores = [epoch for epoch, _ in curve.valid], [score for _, score in curve.valid]
            below.plot(epochs, scores, **look)
            if curve.best in epochs:
                kept = scores[epochs.index(curve.best)]
                below.plot([curve.best], [kept], "o", markersize=8, fillstyle="none", color=look["color"])
        above.set_ylabel("training loss")
        below.set_ylabel(f"validation {metric}")
        below.set_xlabel("epoch (ring: the one that is kept)")
        below.margins(y=0.1)
        below.set_ylim(bottom=0)
        below.xaxis.get_major_locator().set_params(integer=True)
        for axes in (above, below):
            axes.grid(axis="y")
        legend_above(above, 2)
        return figure
