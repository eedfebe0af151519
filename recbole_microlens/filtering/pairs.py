"""The rows of a pairs file one by one, with the line that each stands in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.release.columns import pairs_columns
from recbole_microlens.release.ids import clean_id
from recbole_microlens.release.parsing import split_row
from recbole_microlens.release.rows import BadRows, RowError, first_line, read_lines
from recbole_microlens.release.times import microseconds


class Row(NamedTuple):
    """A line of a pairs file: who watched what (several items in a sequence), and when if that is known."""

    line: str
    user: str
    items: tuple[str, ...]
    time_us: int | None


class PairsFile:
    """A pairs file that is read several times, a row at a time: memory does not grow with it.

    Parameters
    ----------
    path : Path
        ``*_pairs.csv``, ``*_pairs.tsv``, or a log.
    named : Mapping[str, str]
        Columns by what they are; see :func:`~recbole_microlens.release.columns.pairs_columns`.
    skip_bad_rows : bool
        Leave rows out that cannot be read, instead of stopping at the first.

    Raises
    ------
    MicroLensError
        It is no table of text, or its columns are not known.
    """

    def __init__(self, path: Path, named: Mapping[str, str] | None = None, skip_bad_rows: bool = False):
        if path.suffix.lower() == ".parquet":
            raise MicroLensError(
                f"{path}: filter reads tables of text. Write it as CSV first: user,item,timestamp."
            )
        self.path, self.skip_bad_rows = path, skip_bad_rows
        self.columns = pairs_columns(path, first_line(path), named)
        self.bad_rows = 0

    @property
    def header(self) -> str | None:
        """The first line, where it is a header."""
        return (
            next(text for _, text in read_lines(self.path, BadRows(skip=True)))
            if self.columns.header
            else None
        )

    def rows(self, what: str, with_times: bool = False) -> Iterator[Row]:
        """All rows that can be read, in file order; ``what`` names the progress bar.

        Raises
        ------
        MicroLensError
            A row cannot be read, and such rows are not left out.
        """
        bad = BadRows(skip=self.skip_bad_rows)
        lines = read_lines(self.path, bad)
        if self.columns.header:
            next(lines, None)
        bar = tqdm(
            lines,
            desc=f"{what} {printable(self.path.name)}",
            unit=" rows",
            unit_scale=True,
            delay=2,
            disable=None,
        )
        for number, text in bar:
            if (plain := self._plain_row(text, with_times)) is not None:
                yield plain
                continue
            try:
                row = self._row(text, with_times)
            except RowError as error:
                bad.add(self.path, number, str(error), text)
                continue
            yield row
        self.bad_rows = len(bad.rows)

    def _plain_row(self, text: str, with_times: bool) -> Row | None:
        """A row of ids and, where wanted, epoch milliseconds, all in plain digits; None for any other row."""
        columns, cells = self.columns, text.split(self.columns.separator)
        if columns.time is None or len(cells) != columns.count or not text.isascii() or '"' in text:
            return None
        user, item, time = cells[columns.user], cells[columns.item], cells[columns.time]
        if not (user.isdigit() and item.isdigit()):
            return None
        if not with_times:
            return Row(text, user, (item,), None)
        is_milliseconds = time.isdigit() and len(time) == 13 and time[0] != "0"
        return Row(text, user, (item,), 1000 * int(time)) if is_milliseconds else None

    def _row(self, text: str, with_times: bool) -> Row:
        columns = self.columns
        cells = split_row(text, columns)
        user = _id(cells[columns.user], "user")
        if columns.time is None:
            items = tuple(_id(name, "item") for name in cells[columns.item].split(" ") if name)
            if not items:
                raise RowError("no items after the user")
            return Row(text, user, items, None)
        time_us = microseconds(cells[columns.time])[1] if with_times else None
        return Row(text, user, (_id(cells[columns.item], "item"),), time_us)


def _id(text: str, kind: str) -> str:
    return text if text.isascii() and text.isdigit() else clean_id(text, kind)
