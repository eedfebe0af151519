"""Writes what is left of a release: tables without dropped rows, media as second names of their files."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.files import naming, writing
from recbole_microlens.filtering.pairs import PairsFile
from recbole_microlens.media.sources import Source
from recbole_microlens.release.columns import starts_with_item_name
from recbole_microlens.release.rows import BadRows, read_lines

LINKS = ("hardlink", "symlink")
"""How a kept video or cover comes into the new release."""

_PACKED = (".gz", ".zst")


@dataclass
class PairsWritten:
    """Rows of a pairs file, before and after; interactions of sequences count one by one."""

    read: int = 0
    written: int = 0
    items: int = 0


def table_name(path: Path) -> str:
    """The name of a table that is written unpacked."""
    return path.stem if path.suffix.lower() in _PACKED else path.name


def write_pairs(pairs: PairsFile, path: Path, items: Collection[str], users: Collection[str]) -> PairsWritten:
    """Write the rows of which neither the item nor the user is dropped, as they stand in the file.

    Parameters
    ----------
    items, users : Collection[str]
        Those that are dropped.
    """
    done, left = PairsWritten(), set()
    with writing(path) as stream:
        header = pairs.header
        if header is not None:
            stream.write(f"{header}\n")
        for row in pairs.rows("filtering"):
            done.read += len(row.items)
            if len(row.items) == 1:
                if row.items[0] not in items and row.user not in users:
                    done.written += 1
                    left.add(row.items[0])
                    stream.write(row.line + "\n")
                continue
            kept = [] if row.user in users else [item for item in row.items if item not in items]
            if not kept:
                continue
            done.written += len(kept)
            left.update(kept)
            line = (
                row.line
                if len(kept) == len(row.items)
                else f"{row.user}{pairs.columns.separator}{' '.join(kept)}"
            )
            stream.write(f"{line}\n")
    done.items = len(left)
    return done


def write_texts(texts: Mapping[str, str], path: Path, items: Collection[str]) -> None:
    """Write titles or tags of the items that are not dropped, quoted as CSV where that is needed."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    with writing(path) as stream:
        table = csv.writer(stream, delimiter=separator, lineterminator="\n")
        table.writerow(["item", "title"])
        table.writerows((item, text) for item, text in texts.items() if item not in items)


def write_lines(source: Path, path: Path, items: Collection[str]) -> None:
    """Write the lines of a table (likes and views) whose first cell is no dropped item."""
    with writing(path) as stream:
        for place, (_, text) in enumerate(read_lines(source, BadRows(skip=True))):
            item = (text.split("\t") if "\t" in text else re.split(r",|\s+", text.strip()))[0].strip(' "')
            if (place == 0 and starts_with_item_name(item, ",")) or item not in items:
                stream.write(f"{text}\n")


class Linker:
    """Gives kept files a second name in the new release.

    Parameters
    ----------
    how : str
        One of :data:`LINKS`. Hard links cost no space and stay if the old release goes; where the file
        systems do not allow them, symbolic links are made, which is said once.
    """

    def __init__(self, how: str):
        self.symbolic = how == "symlink"

    def link(self, source: Path, target: Path) -> None:
        """Make one link."""
        if not self.symbolic:
            try:
                os.link(source.resolve(), target)
                return
            except OSError as error:
                if shutil.disk_usage(target.parent).free < 1 << 16:
                    raise
                getLogger().warning(
                    f"{source} cannot have a second name in {target.parent} ({error.strerror}): symbolic "
                    "links are made, so keep the old release where it is"
                )
                self.symbolic = True
        with naming(target):
            target.symlink_to(source.resolve())

    def link_all(self, source: Source, folder: Path, items: Collection[str]) -> int:
        """Link the files of a source's items that are not dropped; return how many items these are."""
        kept = [files for item, files in {**source.files, **source.ambiguous}.items() if item not in items]
        for files in tqdm(kept, desc=f"linking {source.kind}", unit=" items", delay=2, disable=None):
            for file in files:
                target = folder / os.path.relpath(file, source.folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                self.link(Path(file), target)
        return len(kept)
