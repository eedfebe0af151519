"""Opens a table of interactions by its kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from recbole_microlens.release import blocks
from recbole_microlens.release.columns import pairs_columns
from recbole_microlens.release.events import EventFilter
from recbole_microlens.release.parquet import ParquetTable
from recbole_microlens.release.rows import first_line
from recbole_microlens.release.table import Table
from recbole_microlens.release.text_table import TextTable

PARQUET = (".parquet", ".pq")


def open_table(
    path: Path,
    named: Mapping[str, str] | None = None,
    events: tuple[str, ...] = (),
    block: int | None = None,
) -> Table:
    """Look at the first line of a table of interactions.

    Parameters
    ----------
    path : Path
        A text table, unpacked where its name ends in ``.gz`` or ``.zst``; or a Parquet file.
    named : Mapping[str, str], optional
        Columns by what they are; see :func:`~recbole_microlens.release.columns.pairs_columns`.
    events : tuple[str, ...], default ()
        The kinds of events to take; all by default.
    block : int, optional
        Bytes that are read at once; by default :data:`~recbole_microlens.release.blocks.BLOCK`.

    Raises
    ------
    MicroLensError
        Its columns are not known.
    """
    if path.suffix.lower() in PARQUET:
        return ParquetTable.open(path, named, events, block or blocks.BLOCK)
    columns = pairs_columns(path, first_line(path), named)
    return TextTable(path, columns, EventFilter(path, columns, events), block or blocks.BLOCK)
