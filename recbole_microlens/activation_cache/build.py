"""An activation cache being built: ranges of items, each recorded once it is on the disk, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from logging import getLogger
from pathlib import Path
from time import perf_counter

import torch

from recbole_microlens.activation_cache.row_format import RowFormat
from recbole_microlens.activation_cache.store import META, CacheMeta, rows_path
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.files import locked_folder

DONE = "done.txt"
_RECORDS = "done*.txt"  # of the processes of a run together, of each part of its own
# Ranges are looked at for so long, or until so much of the work is done, before anything is said.
_SECONDS, _SHARE = 20, 0.1


class Overflow(Exception):
    """A value that the type of the rows cannot hold."""


class PartialCache:
    """An unfinished cache at ``<final name>.partial``; one that says the same of itself is continued.

    Parameters
    ----------
    final : Path
        The folder that :meth:`finish` makes.
    meta : CacheMeta
        What the cache will say of itself.
    range_items : int
        Items of a range. The ranges are the same in every build, so that rows do not depend on where a build
        was killed, and processes may share them out.
    record : str, default DONE
        The file in which this process says what it has built; that of others is read, never written to.
    """

    def __init__(self, final: Path, meta: CacheMeta, range_items: int, record: str = DONE):
        self.final = final
        self.folder = partial_path(final)
        self.meta = meta
        self.ranges = ranges_of(meta, range_items)
        self._record = record
        if CacheMeta.read(self.folder) != meta:
            begin(self.folder, meta)
        self._files = [
            rows_path(self.folder, number).open("r+b", buffering=0) for number in range(len(meta.formats))
        ]

    def remaining(self) -> list[range]:
        """The ranges that are not on the disk yet."""
        done = recorded(self.folder, self._record)
        return [items for items in self.ranges if (items.start, items.stop) not in done]

    def write(self, items: range, rows: TrunkOutput) -> None:
        """Store the rows of a range of items, and record that once they are on the disk.

        Raises
        ------
        Overflow
            A finite value became infinite in the type of the rows.
        """
        write_rows(self._files, self.meta.formats, items.start, rows)
        with (self.folder / self._record).open("a", encoding="ascii") as record:
            record.write(f"{items.start} {items.stop}\n")

    def finish(self) -> None:
        """Give the cache its final name."""
        self.close()
        if self.final.exists():  # damaged, or it would have been opened
            shutil.rmtree(self.final)
        self.folder.rename(self.final)
        remove_records(self.final)

    def discard(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    def close(self) -> None:
        """Keep what was built so far for the next run."""
        for file in self._files:
            file.close()


def ranges_of(meta: CacheMeta, range_items: int) -> list[range]:
    """The ranges of so many items that a cache is built in."""
    return [
        range(start, min(start + range_items, meta.n_items)) for start in range(1, meta.n_items, range_items)
    ]


def begin(folder: Path, meta: CacheMeta) -> None:
    """Make an unfinished cache without a row of a folder, whatever is in it."""
    (folder / META).unlink(missing_ok=True)  # first: without it nothing of the rest counts
    for path in folder.iterdir():
        path.unlink()
    (folder / DONE).touch()
    for number, form in enumerate(meta.formats):
        with rows_path(folder, number).open("wb") as file:
            file.truncate(meta.n_items * form.row_bytes)
    meta.write(folder)


def sole_builder(final: Path) -> AbstractContextManager[bool]:
    """As :func:`sole` of the partial of a cache."""
    return sole(partial_path(final))


@contextmanager
def sole(folder: Path) -> Iterator[bool]:
    """Hold a folder that is built in for this process; wait while another one does.

    Yields
    ------
    bool
        False where the other one has renamed what it built, or removed it: look again.
    """

    def wait() -> None:
        getLogger().info(f"activation cache: another process is building {folder}; waiting for it")

    with locked_folder(folder, wait) as is_ours:
        yield is_ours


def partial_path(final: Path) -> Path:
    return final.with_name(final.name + ".partial")


def overflow_path(final: Path) -> Path:
    """Where it is said that values do not fit into the type of a cache."""
    return final.with_name(final.name + ".overflow")


def recorded(folder: Path, mine: str | None = None) -> set[tuple[int, int]]:
    """The ranges that all records of a folder name.

    A kill may have cut the last line of a record: it does not count, and is dropped from the record of the
    process that asks.
    """
    done = set()
    for path in folder.glob(_RECORDS):
        text = path.read_text(encoding="ascii")
        whole = text[: text.rfind("\n") + 1]
        if whole != text and path.name == mine:
            path.write_text(whole, encoding="ascii")
        pairs = (line.split() for line in whole.splitlines())
        done |= {(int(pair[0]), int(pair[1])) for pair in pairs if len(pair) == 2}
    return done


def remove_records(folder: Path) -> None:
    """Remove all records of a folder, which says in another way what it holds."""
    for path in folder.glob(_RECORDS):
        path.unlink(missing_ok=True)


def write_rows(files: list, formats: tuple[RowFormat, ...], first: int, rows: TrunkOutput) -> None:
    """Write rows from number ``first`` on, one file for each tensor, and wait until they are on the disk.

    Raises
    ------
    Overflow
        A finite value became infinite in the type of the rows.
    """
    for file, form, part in zip(files, formats, rows.tensors, strict=True):
        stored = form.to_stored(part)
        if not form.can_hold(part, stored):
            raise Overflow(form.dtype)
        file.seek(first * form.row_bytes)
        _write_all(file, memoryview(stored.view(-1).view(torch.uint8).numpy()))
        os.fsync(file.fileno())


def _write_all(file, content: memoryview) -> None:
    while content:
        content = content[file.write(content) :]


class Pace:
    """Logs once how long the rest of a build will take.

    A trial on a few items tells too little: what a pass costs besides its items, the time to read and to
    write them, and workers that read ahead all count. The first range is left out, it also warms up.

    Parameters
    ----------
    ranges : int
        Ranges of items that this process builds, all of about one size.
    """

    def __init__(self, ranges: int):
        self._ranges, self._done = ranges, 0
        self._start: float | None = None

    def one_more_range(self) -> None:
        """A range was read, passed through the trunk and written."""
        self._done += 1
        if self._done == 1:
            self._start = perf_counter()
        if self._start is None or self._done < 2:
            return
        measured, elapsed = self._done - 1, perf_counter() - self._start
        if elapsed < _SECONDS and self._done < _SHARE * self._ranges:
            return
        self._start = None
        rest = elapsed / measured * (self._ranges - self._done)
        if rest > _SECONDS:
            getLogger().info(
                f"activation cache: {self._done} of {self._ranges} parts are built, about "
                f"{rest / 60:.1f} minutes to go"
            )
