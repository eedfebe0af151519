"""A table as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

from recbole_microlens import files
from recbole_microlens.comparison.table import GROUPS, Table, Value
from recbole_microlens.errors import printable
from recbole_microlens.evaluation.groups import RARE_AT_MOST

_NAMES = {"hit": "HR", "ndcg": "NDCG", "mrr": "MRR"}
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def markdown(table: Table) -> str:
    """The table for people: best in bold, then rare and unseen targets, what failed, and how to read it."""
    parts = [f"## {table.title}", _markdown_table(*_main_block(table, _bold_markdown))]
    if any(line.results for line in table.lines) and table.group_metrics:
        parts += [f"### {_group_heading()}", _markdown_table(*_group_block(table, _bold_markdown))]
    failed = [f"- {line.row.label}: {reason}" for line in table.lines for reason in line.failures]
    if failed:
        parts += ["### Without a result", "\n".join(failed)]
    return "\n\n".join([*parts, _legend(table)]) + "\n"


def latex(table: Table) -> str:
    """The same tables for a paper, with booktabs."""
    blocks = [_latex_table(*_main_block(table, _bold_latex), table.title)]
    if table.group_metrics:
        blocks.append(_latex_table(*_group_block(table, _bold_latex), _group_heading()))
    return "% \\usepackage{booktabs}\n" + "\n".join(blocks)


def comma_separated(table: Table) -> str:
    """Every number in full: a line for each row and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["row", "model", "section", "training", "tested_on", "metric", "mean", "deviation", "seeds", "paper"]
        + ["compared_with_paper", "difference", "p_value", "failures", "runs"]
    )
    for line in table.lines:
        runs = " ".join(str(result["path"]) for result in line.results)
        failures = "; ".join(line.failures)
        for name in [*table.metrics, *table.group_metrics] if line.metrics else [""]:
            value = line.metrics.get(name)
            figures = ["", "", ""] if value is None else [value.mean, value.deviation, value.seeds]
            tested = [line.difference, line.p_value] if name == table.tested else ["", ""]
            what = [line.row.label, line.row.model, line.row.section, line.training, line.tested_on]
            row = [*what, name, *figures, line.row.paper.get(name), line.paper_note, *tested, failures, runs]
            writer.writerow("" if each is None else each for each in row)
    return text.getvalue()


_WRITERS: dict[str, Callable[[Table], str]] = {".md": markdown, ".csv": comma_separated, ".tex": latex}


def write_table(table: Table, path: Path) -> list[Path]:
    """Write the table beside each other as ``.md``, ``.csv`` and ``.tex``; each is whole or as it was.

    Parameters
    ----------
    path : Path
        Without a suffix.

    Returns
    -------
    list[Path]
        The three files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_name(path.name + suffix) for suffix in _WRITERS]
    for file, write in zip(written, _WRITERS.values(), strict=True):
        with files.written_whole(file) as out:
            out.write(write(table))
    return written


def _main_block(table: Table, bold: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    paper = [name for name in table.metrics if any(name in line.row.paper for line in table.lines)]
    headers = ["model", "training", *["tested on"] * table.is_mixed, *map(_name, table.metrics)]
    headers += [f"paper {_name(each)}" for each in paper]
    headers += ["against the paper"] * bool(paper)
    headers += [f"{_name(table.tested)} - {table.baseline}", "p"] * bool(table.baseline)
    rows = []
    best = _best(table, table.metrics)
    for line in table.lines:
        row = [printable(line.row.label), line.training]
        row += [line.tested_on or ("the last interaction" if line.results else "")] * table.is_mixed
        row += [_figure(line.metrics.get(name), name in best[id(line)], bold) for name in table.metrics]
        row += [_number(line.row.paper.get(name)) for name in paper]
        row += [line.paper_note] * bool(paper)
        if table.baseline:
            row += ["" if line.difference is None else f"{line.difference:+.4f}", _p(line.p_value)]
        rows.append(row)
    return headers, rows


def _group_block(table: Table, bold: Callable[[str], str]) -> tuple[list[str], list[list[str]]]:
    headers = [
        "model",
        *(f"{_name(each.split(' ')[1])}, {each.split(' ')[0]}" for each in table.group_metrics),
    ]
    best = _best(table, table.group_metrics)
    rows = [
        [printable(line.row.label)]
        + [_figure(line.metrics.get(name), name in best[id(line)], bold) for name in table.group_metrics]
        for line in table.lines
        if line.results
    ]
    return headers, rows


def _best(table: Table, names: list[str]) -> dict[int, set[str]]:
    """By line, the metrics in which no other line is better; a metric in which all are alike has no best, nor
    has one of different tests.
    """
    best: dict[int, set[str]] = {id(line): set() for line in table.lines}
    for name in () if table.is_mixed else names:
        means = [(round(line.metrics[name].mean, 4), line) for line in table.lines if name in line.metrics]
        highest = max((each for each, _ in means), default=0.0)
        if len({each for each, _ in means}) > 1:
            for each, line in means:
                if each == highest:
                    best[id(line)].add(name)
    return best


def _figure(value: Value | None, is_best: bool, bold: Callable[[str], str]) -> str:
    if value is None:
        return "-"
    text = bold(f"{value.mean:.4f}") if is_best else f"{value.mean:.4f}"
    return text if value.deviation is None else f"{text} ± {value.deviation:.4f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _name(metric: str) -> str:
    name, at, cut_off = metric.partition("@")
    return _NAMES.get(name, name) + at + cut_off


def _group_heading() -> str:
    return f"Targets with at most {RARE_AT_MOST} training interactions (rare), and with none (unseen)"


def _legend(table: Table) -> str:
    """How to read it."""
    first = table.lines[0].results[0] if table.lines and table.lines[0].results else None
    said = ["RecBole's own training has another loss, optimiser and stopping rule."]
    if table.is_mixed:
        said.append("The rows were tested on different things: no metric of one says anything about another.")
    if any(line.results and len(line.results) > 1 for line in table.lines):
        said.append("Mean ± standard deviation over seeds; the best mean is in bold.")
    else:
        said.append("The best is in bold; one run each says nothing about chance.")
    if table.baseline:
        said.append(
            f"p: sign-flip test of {_name(table.tested)} over users against {table.baseline}, two-sided, "
            "Holm-corrected over the rows."
        )
    notes = dict.fromkeys(f"{line.row.label}: {line.row.note}." for line in table.lines if line.row.note)
    users = (
        [first["groups"][group]["targets"] for group in GROUPS if group in first["groups"]] if first else []
    )
    if table.group_metrics and len(users) == len(GROUPS):
        said.append(f"Of the targets, {users[0]:,.0f} are rare, {users[1]:,.0f} unseen.")
    return " ".join([*said, *notes])


def _bold_markdown(text: str) -> str:
    return f"**{text}**"


def _bold_latex(text: str) -> str:
    return f"\x00{text}\x01"


def _markdown_table(headers: list[str], rows: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [headers, *rows]]
    widths = [max(len(row[place]) for row in escaped) for place in range(len(headers))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in escaped]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _latex_table(headers: list[str], rows: list[list[str]], caption: str) -> str:
    lines = [" & ".join(map(_latex_text, row)) + r" \\" for row in [headers, *rows]]
    return "\n".join(
        (
            r"\begin{table}",
            rf"\caption{{{_latex_text(caption)}}}",
            r"\begin{tabular}{l" + "r" * (len(headers) - 1) + "}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        )
    )


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return escaped.replace("±", r"$\pm$").replace("\x00", r"\textbf{").replace("\x01", "}")
