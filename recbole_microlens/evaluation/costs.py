"""One table of what several runs cost, with the columns of the authors' table of costs."""

from __future__ import annotations

from pathlib import Path

from recbole_microlens.evaluation.compare import items_of, results_below, tables_of
from recbole_microlens.evaluation.text_table import Column, number

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
LEGEND = (
    "trained, all: parameters. FLOPs: of a training step, and of one item encoded\n"
    "without a cache; a product and a sum are two. best: the epoch kept, from 0 on.\n"
    "memory: the most held at once, by the GPU if there is one, else by the process."
)


def format_costs(folders: list[Path]) -> str:
    """For each dataset a table with a row for each run: parameters that train and all, FLOPs of a step and of
    an item, seconds an epoch, best epoch, peak memory; then the run folders.

    Parameters
    ----------
    folders : list[Path]
        Run folders, or folders above them.

    Raises
    ------
    MicroLensError
        No finished run is below a folder, or a ``result.json`` is damaged.
    """
    return tables_of(results_below(folders), cost_columns, LEGEND)


def cost_columns(runs: list[dict]) -> list[Column]:
    """The columns of a table of costs, for runs as ``read_result`` gives them."""
    costs = [_cost(run) for run in runs]
    items = Column("items", [items_of(run["config"]) if run["config"] else "?" for run in runs], is_text=True)
    return [
        items,
        *(
            Column(header, [_short(cost.get(name)) for cost in costs])
            for header, name in (
                ("trained", "trainable_parameters"),
                ("all", "parameters"),
                ("FLOPs\na step", "flops_per_step"),
                ("FLOPs\nan item", "flops_per_item"),
            )
        ),
        Column("s/epoch", [number(cost.get("time_per_epoch_s"), 2) for cost in costs]),
        Column("best", [number(cost.get("best_epoch"), 0) for cost in costs]),
        Column("memory", [_short(cost.get("peak_memory_bytes"), "B") for cost in costs]),
    ]


def _cost(run: dict) -> dict[str, float]:
    """A run of an earlier version has its times alone."""
    times = run["epoch_times_s"]
    return ({"time_per_epoch_s": sum(times) / len(times)} if times else {}) | run["cost"]


def _short(value: float | None, unit: str = "") -> str:
    """Three digits and a prefix: ``3.01 M``."""
    if value is None:
        return "-"
    for size, prefix in _PREFIXES:
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()
