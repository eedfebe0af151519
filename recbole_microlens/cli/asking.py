"""What the sub-commands that ask a trained model share: how it is loaded, new items, and what is printed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_microlens.errors import MicroLensError, printable

if TYPE_CHECKING:
    import pandas as pd

    from recbole_microlens.quick_start import LoadedRun

_TITLE = 44  # characters of a title that a line has room for


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the run and how it is loaded."""
    parser.add_argument("run", type=Path, help="the folder of a finished run: runs/<dataset>/<model>-<time>")
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU where there is one)")
    parser.add_argument("--precision", default="fp32", help="fp32 (default), bf16 or fp16")
    parser.add_argument(
        "--data-path",
        "--data_path",
        type=Path,
        help="folder of all datasets, for a model that needs its own (default: as the run was given)",
    )


def add_new_items(parser: argparse.ArgumentParser) -> None:
    """Add the options of new items."""
    parser.add_argument(
        "--new-videos",
        "--new-items",
        dest="new_items",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="videos that training has not seen, a file or a folder of <id>.mp4 (and covers <id>.jpg, sound "
        "<id>.mp3 that is not the videos' own, titles.csv with the columns item and title, for models that "
        "look at those); may be repeated",
    )
    parser.add_argument(
        "--cold", choices=["content"], help="a model that also knows ids ranks new items by content alone"
    )


def loaded(arguments: argparse.Namespace) -> LoadedRun:
    """The run, with the new items that are given."""
    from recbole_microlens.quick_start import load

    model = load(
        arguments.run,
        device=arguments.device,
        precision=arguments.precision,
        data_path=arguments.data_path,
    )
    for path in getattr(arguments, "new_items", []):
        model.add_items(path, cold=arguments.cold, progress=True)
    return model


def words(text: str) -> list[str]:
    """Ids as the command line has them: a file with one on each line, or a list ``a,b,c``."""
    path = Path(text)
    if len(text) < 4096 and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise MicroLensError(f"{path} is not a text file of ids, one on each line.") from error
        found = [line.strip() for line in lines if line.strip()]
    else:
        found = [word.strip() for word in text.split(",") if word.strip()]
    if not found:
        raise MicroLensError(f"{text!r} names no id. Write a,b,c, or a file with an id on each line.")
    return found


def with_titles(model: LoadedRun, rows: pd.DataFrame, item: str = "item_id") -> pd.DataFrame:
    """The rows with a column of titles behind them."""
    return rows.assign(title=model.titles[model.rows_of(rows[item].tolist())])


def lines_by(rows: pd.DataFrame, group: str, head: str, shown: list[str]) -> Iterator[str]:
    """Lines for a person: a heading for each group, and its rows below.

    Parameters
    ----------
    rows : DataFrame
        With ``rank``, ``score``, the ``group`` and all ``shown``; a long title is cut.
    head : str
        The heading of a group, with ``{}`` for its name.
    """
    for name, part in rows.groupby(group, sort=False):
        yield head.format(printable(name))
        width = {column: max(map(len, map(printable, part[column]))) for column in shown}
        for row in part.to_dict("records"):
            score = "     -" if row["score"] != row["score"] else f"{row['score']:10.4f}"
            cells = [_cut(printable(row[column])).ljust(min(width[column], _TITLE)) for column in shown]
            yield f"{row['rank']:>5}  {score:>10}  {'  '.join(cells)}".rstrip()


def print_lines(lines: Iterable[str]) -> None:
    """Print the lines of an answer."""
    for line in lines:
        print(line)


def _cut(text: str) -> str:
    return text if len(text) <= _TITLE else text[: _TITLE - 3] + "..."
