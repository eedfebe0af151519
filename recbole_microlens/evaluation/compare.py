"""One table of the test results of several runs, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.evaluation.groups import RARE_AT_MOST
from recbole_microlens.evaluation.results import RESULT, read_result
from recbole_microlens.items.modality import ENCODED

WIDTH = 80
_LONGEST = 25  # of what stands in a cell for an encoder; the registry's longest is as long
_GAP = 2
_SHOWN_GROUPS = ("rare", "unseen")
_LEGEND = (
    f"rare, unseen: targets whose item has at most {RARE_AT_MOST}, or no, training interactions.\n"
    "RecBole's own training has another loss, optimiser and stopping rule."
)


@dataclass(frozen=True)
class Column:
    """A column of the table: its header, lines apart, and a cell for each run."""

    header: str
    cells: list[str]

    @property
    def width(self) -> int:
        return max(len(line) for text in (self.header, *self.cells) for line in text.split("\n"))


def format_results(folders: list[Path]) -> str:
    """For each dataset a table with a row for each run: model, what its items are made of, whose training it
    is, the test metrics, overall and on rare and unseen targets, and seconds an epoch; then the run folders.

    Parameters
    ----------
    folders : list[Path]
        Run folders, or folders above them.

    Raises
    ------
    MicroLensError
        No finished run is below a folder, or a ``result.json`` is damaged.
    """
    results = [read_result(path) for folder in folders for path in _result_files(folder)]
    numbered = [result | {"number": str(number)} for number, result in enumerate(results, 1)]
    parts = []
    for dataset in dict.fromkeys(result["dataset"] for result in numbered):
        runs = [result for result in numbered if result["dataset"] == dataset]
        parts += [dataset, *_blocks(_key_columns(runs), _columns(runs))]
    if any(result["groups"] for result in results):
        parts.append(_LEGEND)
    parts.append("\n".join(f"{result['number']:>3}  {result['folder']}" for result in numbered))
    return "\n\n".join(parts)


def items_of(config: dict) -> str:
    """What a run's items are made of, a line for each modality: ``id``, ``video: efficientnet_lite0``."""
    named = config.get("item_modality") or ["id"]
    named = named if isinstance(named, list) else [named]
    return "\n".join(_looked_at(config, printable(name)) for name in named)


def _looked_at(config: dict, name: str) -> str:
    if name not in ENCODED:
        return _short(name)
    features = config.get("features")
    features = features.get(name) if isinstance(features, dict) else features
    source = features or config.get("encoder") or config.get(f"{name}_encoder") or "?"
    return _short(f"{name}: {Path(printable(source)).name}")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _key_columns(runs: list[dict]) -> list[Column]:
    return [Column("#", [run["number"] for run in runs]), Column("model", [run["model"] for run in runs])]


def _columns(runs: list[dict]) -> list[Column]:
    """All columns in the order of what is looked at first."""
    metrics = list(dict.fromkeys(name for run in runs for name in run["test_result"]))
    wanted = str(runs[0]["config"].get("valid_metric", "")).lower()
    metrics.sort(key=lambda name: name != wanted)
    first, *others = metrics or [""]
    columns = [
        Column("items", [items_of(run["config"]) if run["config"] else "?" for run in runs]),
        Column("training", [_training(run["config"]) for run in runs]),
        Column(first, [_number(run["test_result"].get(first)) for run in runs]),
    ]
    for group in _SHOWN_GROUPS:
        values = [run["groups"].get(group, {}).get(first) for run in runs]
        if any(value is not None for value in values):
            columns.append(Column(f"{group}\n{first}", [_number(value) for value in values]))
    columns += [Column(name, [_number(run["test_result"].get(name)) for run in runs]) for name in others]
    times = [run["epoch_times_s"] for run in runs]
    return [*columns, Column("s/epoch", [_number(sum(t) / len(t), 2) if t else "-" for t in times])]


def _blocks(keys: list[Column], columns: list[Column]) -> list[str]:
    """Tables one below the other, none wider than 80 characters, each with the key columns and some of the
    others.
    """
    blocks = [[*keys, columns[0]]]
    for column in columns[1:]:
        if _width([*blocks[-1], column]) > WIDTH:
            blocks.append([*keys])
        blocks[-1].append(column)
    return [_table(block) for block in blocks]


def _width(columns: list[Column]) -> int:
    return sum(column.width + _GAP for column in columns) - _GAP


def _table(columns: list[Column]) -> str:
    """The columns side by side; headers stand at the bottom, cells at the top of their row."""
    height = max(column.header.count("\n") for column in columns)
    headers = ["\n" * (height - column.header.count("\n")) + column.header for column in columns]
    rules = ["-" * column.width for column in columns]
    rows = [headers, rules, *zip(*(column.cells for column in columns), strict=True)]
    return "\n".join(line for row in rows for line in _lines(row, columns))


def _lines(row: Sequence[str], columns: list[Column]) -> list[str]:
    parts = zip_longest(*(cell.split("\n") for cell in row), fillvalue="")
    return [(" " * _GAP).join(map(_aligned, line, columns)).rstrip() for line in parts]


def _aligned(text: str, column: Column) -> str:
    is_text = column.header in ("model", "items", "training")
    return text.ljust(column.width) if is_text else text.rjust(column.width)


def _training(config: dict) -> str:
    if not config:
        return "?"
    return "the paper's" if config.get("item_modality") else "RecBole's own"


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _result_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob(RESULT))
    if not files:
        raise MicroLensError(
            f"There is no finished run ({RESULT}) in {folder}. Give a run folder, or one above it."
        )
    return files
