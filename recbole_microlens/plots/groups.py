"""Groups of targets by popularity: one run's metric, or others' in relation to it (Figure 6 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_microlens.plots.style import COLOURS, GREY, LINES, MARKERS, drawing, legend_above, panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def groups_of_targets(
    labels: list[str],
    targets: list[int],
    values: dict[str, list[float | None]],
    metric: str,
    axis: str,
    baseline: str | None = None,
) -> Figure:
    """A line for each run over groups of targets.

    Parameters
    ----------
    labels : list[str]
        Of the groups, least popular first.
    targets : list[int]
        How many targets each group has.
    values : dict[str, list[float | None]]
        By run, the metric of each group, or its ratio to the baseline's; ``None`` leaves a gap.
    metric : str
        What the values are.
    axis : str
        What the groups are of.
    baseline : str, optional
        The run that the values are ratios to, at the line of 1.
    """
    with drawing():
        figure, axes = panels(1, 62)
        places = range(len(labels))
        for number, (run, numbers) in enumerate(values.items()):
            axes.plot(
                places,
                [float("nan") if value is None else value for value in numbers],
                color=COLOURS[number % len(COLOURS)],
                linestyle=LINES[number % len(LINES)],
                marker=MARKERS[number % len(MARKERS)],
                label=run,
            )
        _mark_gaps(axes, list(values.values()))
        axes.margins(y=0.08)
        axes.set_ylim(bottom=0)
        if baseline is None:
            axes.set_ylabel(metric)
        else:
            axes.axhline(1, color=GREY, linewidth=1, linestyle=(0, (1, 2)), label=f"{baseline} (1)")
            axes.set_ylabel(f"{metric}, ratio to {baseline}")
        axes.set_xticks(
            places, [f"{label}\nn = {count:,}" for label, count in zip(labels, targets, strict=True)]
        )
        axes.set_xlim(-0.55, len(labels) - 0.45)
        axes.set_xlabel(axis)
        axes.grid(axis="y")
        legend_above(axes, 2)
        return figure


def _mark_gaps(axes, lines: list[list[float | None]]) -> None:
    """A ratio to nothing, or a group without targets: said, not left to be overlooked."""
    for place, numbers in enumerate(zip(*lines, strict=True)):
        if None in numbers:
            axes.text(place, 0.02, "not defined", transform=axes.get_xaxis_transform(), ha="center",
                      va="bottom", fontsize=6, color=GREY)  # fmt: skip
