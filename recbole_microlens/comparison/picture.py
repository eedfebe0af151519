"""The rows of a table as bars, beside the table's files."""

from __future__ import annotations

import importlib.util
from logging import getLogger
from pathlib import Path

from recbole_microlens.comparison.table import Line, Table
from recbole_microlens.plots.bars import Bar, comparison_bars
from recbole_microlens.plots.style import save

_FIRST = ("hit@10", "ndcg@10")


def draw_table(table: Table, path: Path) -> list[Path]:
    """Draw the rows that have a result, two metrics at most, as ``.png`` and ``.svg``.

    Parameters
    ----------
    path : Path
        Without a suffix.

    Returns
    -------
    list[Path]
        The two files; none, with a word on it, where matplotlib is not installed or the rows were tested on
        different things, or if no row has a result.
    """
    finished = [line for line in table.lines if line.results]
    metrics = sorted(table.metrics, key=lambda name: name not in _FIRST)[:2]
    if not finished or not metrics:
        return []
    if importlib.util.find_spec("matplotlib") is None:
        getLogger().warning(
            "No picture is drawn, matplotlib is missing: pip install recbole-microlens[plots]"
        )
        return []
    if table.is_mixed:
        getLogger().warning("No picture is drawn: the rows were tested on different things")
        return []
    figure = comparison_bars([_bar(line, metrics) for line in finished], metrics)
    drawn = [path.with_name(path.name + suffix) for suffix in (".png", ".svg")]
    for file in drawn:
        save(figure, file)
    return drawn


def _bar(line: Line, metrics: list[str]) -> Bar:
    values = [line.metrics.get(name) for name in metrics]
    return Bar(
        line.row.label,
        [None if value is None else value.mean for value in values],
        [None if value is None else value.deviation for value in values],
        is_stock=line.training == "RecBole's own",
    )
