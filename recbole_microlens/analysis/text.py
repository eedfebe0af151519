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
    tested_on = f": {analysis.tested_on}" * bool(analysis.tested_on)
    parts = [textwrap.fill(f"{analysis.metric} on {printable(analysis.dataset)}{tested_on}", WIDTH)]
    for grouping in (analysis.by_popularity, analysis.by_history):
        if grouping is not None:
            keys, columns = grouping_columns(analysis, grouping)
            parts += [f"By {grouping.by}:", *blocks(keys, columns)]
    if len(analysis.runs) > 1:
        parts.append(textwrap.fill(ratio_legend(analysis), WIDTH))
    if analysis.lists:
        keys, columns = lists_columns(analysis)
        parts += [lists_title(analysis), *blocks(keys, columns), textwrap.fill(LISTS_LEGEND, WIDTH)]
    parts.append("\n".join(f"{label}  {printable(folder)}" for label, folder in analysis.runs.items()))
    return "\n\n".join(parts)


def grouping_columns(analysis: Analysis, grouping: Grouping) -> tuple[list[Column], list[Column]]:
    """Key columns and others: the metric of each run by group, and the ratio of the others to the first."""
    total = sum(grouping.targets)
    keys = [
        Column("group", [*grouping.labels, "all"]),
        Column("targets", [f"{count:,}" for count in (*grouping.targets, total)]),
    ]
    ratios, base = grouping.ratios(), next(iter(analysis.overall.values()))
    columns = []
    for label, values in grouping.values.items():
        overall = analysis.overall[label]
        columns.append(Column(label, [number(value) for value in (*values, overall)]))
        if label in ratios:
            cells = [*ratios[label], overall / base if base else None]
            columns.append(Column("ratio", [number(value, 2) for value in cells]))
    return keys, columns


def lists_columns(analysis: Analysis) -> tuple[list[Column], list[Column]]:
    """Key columns and others: what each model's lists are like."""
    lists = analysis.lists.values()
    columns = [
        Column("coverage", [number(each.coverage) for each in lists]),
        Column("gini", [number(each.gini) for each in lists]),
        Column("novelty", [number(each.novelty, 2) for each in lists]),
        Column("slope", [number(each.slope, 3) for each in lists]),
        Column("r", [number(each.correlation, 3) for each in lists]),
    ]
    return [Column("model", list(analysis.lists), is_text=True)], columns


def lists_title(analysis: Analysis) -> str:
    """What the table of lists is of."""
    return f"The lists of {next(iter(analysis.lists.values())).length} items:"


def ratio_legend(analysis: Analysis) -> str:
    """What a ratio is to."""
    return f"ratio: to {next(iter(analysis.runs))}, in the same group; - where that has no hit."
