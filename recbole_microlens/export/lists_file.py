"""Recommendations as a file, CSV or Parquet, written as they are computed; it appears when it is whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

from recbole_microlens import files
from recbole_microlens.errors import MicroLensError

SUFFIXES = (".csv", ".parquet")


def require_writable(path: Path) -> None:
    """Raise a :class:`MicroLensError` where a file of lists cannot have this name, before any work."""
    if path.suffix not in SUFFIXES:
        raise MicroLensError(f"--out: {path} ends in neither {' nor '.join(SUFFIXES)}.")
    if path.suffix == ".parquet":
        _pyarrow()
    if path.is_dir():
        raise MicroLensError(f"--out: {path} is a folder. Give the name of a file.")
    if not path.absolute().parent.is_dir():
        raise MicroLensError(f"--out: {path.parent} is not there. Make the folder, or choose another.")


@contextmanager
def written_lists(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Give a function that appends rows; the file appears when the block ends well.

    Parameters
    ----------
    path : Path
        As :func:`require_writable` wants it. All rows have the same columns.

    Raises
    ------
    OSError
        It cannot be written; nothing is left, and an older file is as it was.
    """
    rows = _CsvRows if path.suffix == ".csv" else _ParquetRows
    with files.written_whole(path, "wb") as file:
        writer = rows(file)
        yield writer.append
        writer.close()


class _CsvRows:
    def __init__(self, file: IO):
        self._file = file
        self._is_first = True

    def append(self, rows: pd.DataFrame) -> None:
        text = rows.to_csv(index=False, header=self._is_first, lineterminator="\n")
        self._file.write(text.encode())
        self._is_first = False

    def close(self) -> None:
        """Nothing is held back."""


class _ParquetRows:
    def __init__(self, file: IO):
        self._file = file
        self._writer: Any = None

    def append(self, rows: pd.DataFrame) -> None:
        arrow, parquet = _pyarrow()
        table = arrow.Table.from_pandas(rows, preserve_index=False)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MicroLensError(
            "A .parquet file is written with pyarrow, which is not installed: pip install "
            "'recbole-microlens[parquet]'. Or give a name that ends in .csv."
        ) from error
    return pyarrow, parquet
