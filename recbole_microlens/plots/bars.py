"""Bars: a metric of several models, with the spread over seeds where there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recbole_microlens.plots.style import COLOURS, GREY, drawing, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _STOCK = COLOURS[0], "#BBBBBB"


@dataclass(frozen=True)
class Bar:
    """A row of the picture.

    Attributes
    ----------
    label : str
        Of the model.
    values : list[float | None]
        One for each metric.
    errors : list[float | None]
        The standard deviation over seeds, for each metric; ``None`` of one run.
    is_stock : bool
        RecBole's own training: another loss, optimiser and stopping rule.
    """

    label: str
    values: list[float | None]
    errors: list[float | None]
    is_stock: bool = False


def comparison_bars(bars: list[Bar], metrics: list[str]) -> Figure:
    """A row for each model, a panel for each metric, the value behind each bar; stock training in grey."""
    with drawing():
        height = 14 + 5.2 * len(bars)
        figure, axes = panels(1, height, len(metrics), sharey=True, squeeze=False)
        for panel, metric in enumerate(metrics):
            _panel(axes[0, panel], bars, panel, metric)
        first = axes[0, 0]
        first.set_yticks(range(len(bars)), [bar.label for bar in bars])
        first.set_ylim(len(bars) - 0.4, -0.6)
        if any(bar.is_stock for bar in bars):
            figure.supxlabel("grey, hatched: RecBole's own training", fontsize=6.5, color=GREY)
        return figure


def _panel(axes, bars: list[Bar], number: int, metric: str) -> None:
    values = [bar.values[number] for bar in bars]
    top = max((value or 0) + (bar.errors[number] or 0) for value, bar in zip(values, bars, strict=True)) or 1
    for place, (value, bar) in enumerate(zip(values, bars, strict=True)):
        if value is None:
            axes.text(0, place, " not known", va="center", fontsize=6, color=GREY)
            continue
        error = bar.errors[number] or 0
        axes.barh(
            place,
            value,
            height=0.7,
            color=_STOCK if bar.is_stock else _OURS,
            hatch="////" if bar.is_stock else None,
            edgecolor=GREY if bar.is_stock else _OURS,
            linewidth=0.4,
            xerr=error or None,
            error_kw={"elinewidth": 0.8, "capsize": 1.5},
        )
        axes.text(value + error + 0.02 * top, place, f"{value:.4f}", va="center", fontsize=6)
    axes.set_xlim(0, 1.42 * top)  # room for the numbers
    axes.set_title(metric)
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=3)
    axes.grid(axis="x")
