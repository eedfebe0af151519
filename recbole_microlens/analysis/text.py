"""An analysis as tables for a terminal of 80 columns."""

from __future__ import annotations

import textwrap

from recbole_microlens.analysis.analyse import Analysis, Grouping
from recbole_microlens.errors import printable
from recbole_microlens.evaluation.text_table import WIDTH, Column, blocks, number

LISTS_LEGEND = (
    "coverage: share of the items that are in any list. gini: 0 if all items are shown equally often, near 1 "
    "if a few are. novelty: mean information of a shown item, in bits; popular items have little. slope: of "
    "an item's mean score over the logarithm of its training interactions, and their correlation r; 1 where "
    "the scores of a softmax are the logarithms of probabilities."
)


def as_text(analysis: Analysis) -> str:
    """Tables of the groups and of the lists, and the folders of the runs."""
    parts = [f"{analysis.metric} on {printable(analysis.dataset)}"]
    for grouping in (analysis.by_popularity, analysis.by_history):
        if grouping is not None:
            parts += _grouping(analysis, grouping)
    if len(analysis.runs) > 1:
        parts.append(
            _wrapped(f"ratio: to {next(iter(analysis.runs))}, in the same group; - where it has no hit.")
        )
    if analysis.lists:
        parts += [*_lists(analysis), _wrapped(LISTS_LEGEND)]
    parts.append("\n".join(f"{label}  {printable(folder)}" for label, folder in analysis.runs.items()))
    return "\n\n".join(parts)


def _grouping(analysis: Analysis, grouping: Grouping) -> list[str]:
    total = sum(grouping.targets)
    keys = [
        Column("group", [*grouping.labels, "all"]),
        Column("targets", [f"{count:,}" for count in (*grouping.targets, total)]),
    ]
    ratios = grouping.ratios()
    base = next(iter(analysis.overall.values()))
    columns = []
    for label, values in grouping.values.items():
        overall = analysis.overall[label]
        columns.append(Column(label, [number(value) for value in (*values, overall)]))
        if label in ratios:
            cells = [*ratios[label], overall / base if base else None]
            columns.append(Column("ratio", [number(value, 2) for value in cells]))
    return [f"By {grouping.by}:", *blocks(keys, columns)]


def _lists(analysis: Analysis) -> list[str]:
    lists = analysis.lists
    length = next(iter(lists.values())).length
    keys = [Column("model", list(lists), is_text=True)]
    columns = [
        Column("coverage", [number(each.coverage) for each in lists.values()]),
        Column("gini", [number(each.gini) for each in lists.values()]),
        Column("novelty", [number(each.novelty, 2) for each in lists.values()]),
        Column("slope", [number(each.slope, 3) for each in lists.values()]),
        Column("r", [number(each.correlation, 3) for each in lists.values()]),
    ]
    return [f"The lists of {length} items:", *blocks(keys, columns)]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH)
