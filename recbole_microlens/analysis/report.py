"""One page of several runs: their results, cost, training, groups and lists, as tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from recbole_microlens import __version__, files
from recbole_microlens.analysis import page, pictures
from recbole_microlens.analysis.analyse import GROUPS, Analysis, analyse
from recbole_microlens.analysis.dataset_counts import dataset_counts
from recbole_microlens.analysis.runs import Run
from recbole_microlens.analysis.text import (
    LISTS_LEGEND,
    grouping_columns,
    lists_columns,
    lists_title,
    ratio_legend,
)
from recbole_microlens.evaluation.compare import key_columns, result_columns
from recbole_microlens.evaluation.costs import LEGEND as COST_LEGEND
from recbole_microlens.evaluation.costs import cost_columns
from recbole_microlens.media.durations import read_durations
from recbole_microlens.plots.dataset import dataset_statistics
from recbole_microlens.release.sequence_store import has_store


def write_report(
    runs: list[Run],
    out: Path,
    metric: str = "hit@10",
    groups: int = GROUPS,
    lists: bool = True,
    videos: Path | None = None,
) -> None:
    """Write a page that needs nothing beside it, whole or not at all; equal runs give equal pages.

    Parameters
    ----------
    runs, metric, groups, lists
        As :func:`~recbole_microlens.analysis.analyse.analyse` takes them.
    out : Path
        The ``.html`` file.
    videos : Path, optional
        The folder of the dataset's videos, for their durations.

    Raises
    ------
    MicroLensError
        As ``analyse``, or matplotlib is not installed; nothing is written then.
    """
    found = analyse(runs, metric, groups, lists)
    introduction = (
        f"{len(runs)} run{'s' * (len(runs) > 1)} on the same {sum(found.by_popularity.targets):,} test "
        f"targets{_kind(found)}. Made by recbole-microlens {__version__}."
    )
    sections = [section for part in _PARTS for section in part(runs, found)]
    sections += [*_dataset(runs[0], videos), *_folders(found)]
    whole = page.whole(f"Results on {found.dataset}", introduction, sections)
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.written_whole(out) as file:
        file.write(whole)


def _kind(found: Analysis) -> str:
    if not found.tested_on:
        return ""
    return f": {found.tested_on}; validation is on items that training knows"


def _results(runs: list[Run], found: Analysis) -> Iterator[tuple[str, str]]:
    results = [run.result for run in runs]
    columns = [*key_columns(results), *result_columns(results)]
    note = "RecBole's own training has another loss, optimiser and stopping rule."
    if not found.tested_on:
        groups = "Rare and unseen: targets whose item has at most three, or no, training interactions."
        note = f"{groups} {note}"
    bars = page.picture(pictures.bars_of(runs), "bars", "Test metrics of each run.")
    yield "Results", f"{page.table('Test results', columns)}\n{_note(note)}\n{_pictures(bars)}"


def _groups(runs: list[Run], found: Analysis) -> Iterator[tuple[str, str]]:
    drawn = (
        ("By popularity", found.by_popularity, "popularity", pictures.popularity_of),
        ("By length of history", found.by_history, "history", pictures.history_of),
    )
    several = len(runs) > 1
    what = f"{found.metric}, as a ratio to that of {next(iter(found.runs))}" if several else found.metric
    for heading, grouping, name, draw in drawn:
        if grouping is not None:
            keys, columns = grouping_columns(found, grouping)
            shown = page.picture(draw(found), name, f"{what}, by {grouping.by}.")
            parts = [
                page.table(f"{found.metric} by {grouping.by}", [*keys, *columns]),
                *([_note(ratio_legend(found))] if several else []),
                _pictures(shown),
            ]
            yield heading, "\n".join(parts)


def _lists(runs: list[Run], found: Analysis) -> Iterator[tuple[str, str]]:
    if found.lists:
        keys, columns = lists_columns(found)
        shown = page.table(lists_title(found).removesuffix(":"), [*keys, *columns])
        yield "Lists of recommendations", f"{shown}\n{_note(LISTS_LEGEND)}"


def _training(runs: list[Run], found: Analysis) -> Iterator[tuple[str, str]]:
    if any(run.result["train_losses"] for run in runs):
        shown = page.picture(
            pictures.curves_of(runs),
            "curves",
            "Training loss and validation metric by epoch. Losses of different models have different scales.",
        )
        yield "Training", _pictures(shown)


def _cost(runs: list[Run], found: Analysis) -> Iterator[tuple[str, str]]:
    results = [run.result for run in runs]
    columns = [*key_columns(results), *cost_columns(results)]
    yield "Cost", f"{page.table('Cost of each run', columns)}\n{_note(' '.join(COST_LEGEND.split()))}"


_PARTS = (_results, _groups, _lists, _training, _cost)


def _dataset(run: Run, videos: Path | None) -> Iterator[tuple[str, str]]:
    """Statistics of the dataset, where it is still there."""
    data_path = Path(str(run.result["config"].get("data_path", "dataset_atomic")))
    name = run.result["dataset"]
    if (data_path / name / f"{name}.inter").is_file() or has_store(data_path / name, name):
        items, users = dataset_counts(data_path, name)
        durations = None if videos is None else read_durations(videos).values()
        caption = "Item popularity, length of the users' histories" + (
            "." if durations is None else ", and duration of the videos."
        )
        drawn = page.picture(dataset_statistics(items, users, durations), "dataset", caption)
        yield "Dataset", _pictures(drawn)


def _folders(found: Analysis) -> Iterator[tuple[str, str]]:
    rows = [f"<dt>{page.text(label)}</dt><dd>{page.text(path)}</dd>" for label, path in found.runs.items()]
    yield "Runs", f"<dl>{''.join(rows)}</dl>"


def _note(note: str) -> str:
    return f'<p class="dim">{page.text(note)}</p>'


def _pictures(*drawn: str) -> str:
    return f'<div class="pictures">{"".join(drawn)}</div>'
