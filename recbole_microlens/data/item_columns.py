"""A column of the dataset's ``.item`` file, by original item id."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recbole_microlens.errors import MicroLensError, did_you_mean, first_line
from recbole_microlens.release.atomic_check import check_atomic


def read_item_column(
    path: Path, field: str, kind: str, what: str, separator: str = "\t", item_field: str = "item_id"
) -> tuple[dict[str, str], str]:
    """A column as text, in the order of the file; empty where an item has nothing.

    Parameters
    ----------
    path : Path
        The ``.item`` file.
    field, kind : str
        Name of the column, and the type that a new one should have, for the message.
    what : str
        What it holds, in the plural: ``titles``, which is also how a release's file of them is called.
    separator, item_field : str
        Of the columns; name of the column of ids.

    Returns
    -------
    values : dict[str, str]
        By original item id.
    kind : str
        The type that the column has in the header: ``token``, ``token_seq``.

    Raises
    ------
    MicroLensError
        There is no such file, it has no column of item ids or none of this name, or a row cannot be read.
    """
    remedy = (
        f"Convert the release again with its {what} file beside the pairs: recbole-microlens convert "
        f"RELEASE_FOLDER --dataset {path.stem} --data-path {path.parent.parent}"
    )
    if not path.is_file():
        raise MicroLensError(f"{path} does not exist, and {what} are read from it. {remedy}")
    table, columns = _table(path, separator, item_field, str(path), remedy)
    for name, wanted in ((item_field, "token"), (field, kind)):
        if name not in columns:
            raise MicroLensError(
                f"{path} has no column {name}; its header is {', '.join(table.columns)}. {remedy}, or add a "
                f"column {name}:{wanted}."
            )
    values = dict(zip(table[columns[item_field]], table[columns[field]].str.strip(), strict=True))
    return values, columns[field].partition(":")[2]


def read_item_columns(
    path: Path, fields: tuple[str, ...], setting: str, separator: str = "\t", item_field: str = "item_id"
) -> dict[str, dict[str, str]]:
    """Several columns as text, in the order of the file: for each original item id its values by column.

    Parameters
    ----------
    path : Path
        The ``.item`` file.
    fields : tuple of str
        Names of the columns.
    setting : str
        What names them, the start of a message.
    separator, item_field : str
        As :func:`read_item_column` takes them.

    Raises
    ------
    MicroLensError
        There is no such file, it lacks a column (the message lists those that there are), or a row cannot be
        read.
    """
    if not path.is_file():
        raise MicroLensError(
            f"{setting}: {path} does not exist, and {', '.join(fields)} are read from it. Convert the "
            "release with its files of titles, tags, likes and views beside the pairs."
        )
    table, columns = _table(path, separator, item_field, f"{setting}: {path}")
    for name in (item_field, *fields):
        if name not in columns:
            there = [column for column in columns if column != item_field]
            raise MicroLensError(
                f"{setting}: {path} has no column {name!r}.{did_you_mean(name, there)} It has "
                f"{', '.join(there)}."
            )
    values = [table[columns[name]].str.strip().tolist() for name in (item_field, *fields)]
    rows = zip(*values, strict=True)
    return {item: dict(zip(fields, texts, strict=True)) for item, *texts in rows}


def read_tags(
    path: Path, separator: str = "\t", item_field: str = "item_id", words: str = " "
) -> dict[str, list[str]]:
    """The tags of each item: one of a column ``tag:token``, several of ``tag:token_seq``; raises as
    :func:`read_item_column`, and where no item has one.
    """
    values, kind = read_item_column(path, "tag", "token", "tags", separator, item_field)
    if not any(values.values()):
        raise MicroLensError(
            f"{path}: its column tag is empty. Convert the release again with its tags file beside the "
            f"pairs: recbole-microlens convert RELEASE_FOLDER --dataset {path.stem} --data-path "
            f"{path.parent.parent}"
        )
    is_list = kind == "token_seq"
    return {
        item: [tag for tag in (text.split(words) if is_list else [text]) if tag]
        for item, text in values.items()
    }


def _table(
    path: Path, separator: str, item_field: str, what: str, remedy: str = "Convert the release again."
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The file, each item once, and the columns' names in its header by those without their types."""
    check_atomic(path, ids=(item_field,), distinct=item_field, loaded=(), separator=separator)
    # As RecBole reads atomic files (pandas' CSV quotes), except that no text counts as missing.
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8")
    except ValueError as error:
        raise MicroLensError(f"{what} cannot be read ({first_line(error)}). {remedy}") from error
    columns = {name.split(":")[0]: name for name in table.columns}
    return (table.drop_duplicates(columns[item_field]) if item_field in columns else table), columns
