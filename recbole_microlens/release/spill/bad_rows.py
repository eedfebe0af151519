"""Bad rows that go to a file, as there may be more of them than fit in memory."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

from recbole_microlens.files import naming, writing
from recbole_microlens.release.rows import BadRow, BadRows


class SpilledBadRows(BadRows):
    """As its base, with the rows in a file.

    Parameters
    ----------
    path : Path
        The file.
    skip : bool
        Whether bad rows are left out, instead of the first one being an error.
    """

    def __init__(self, path: Path, skip: bool):
        super().__init__(skip)
        self._path, self._count, self._bytes = path, 0, 0

    def __len__(self) -> int:
        return self._count

    def continue_at(self, count: int, size: int) -> None:
        """Go on behind so many rows and bytes; what stands behind is cut off."""
        with naming(self._path), self._path.open("ab") as file:
            file.truncate(size)
        self._count, self._bytes = count, size

    def written(self) -> tuple[int, int]:
        """How many rows, and their bytes in the file."""
        return self._count, self._bytes

    def _keep(self, row: BadRow) -> None:
        text = io.StringIO()
        csv.writer(text, delimiter="\t", lineterminator="\n").writerow(row.cells())
        with naming(self._path), self._path.open("ab") as file:
            file.write(text.getvalue().encode())
            self._bytes = file.seek(0, os.SEEK_END)
        self._count += 1

    def write(self, path: Path) -> None:
        with writing(path, "wb") as out, self._path.open("rb") as rows:
            out.write(("\t".join(BadRow.HEADER) + "\n").encode())
            shutil.copyfileobj(rows, out)
