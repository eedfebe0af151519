"""Takes published files from a folder of this machine: linked where that is possible, else copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import naming, written_whole
from recbole_microlens.release.download.checks import is_intact
from recbole_microlens.release.download.manifest import RemoteFile


def found_in(folder: Path, name: str) -> Path | None:
    """The file of a name, or its last part alone, in a folder; None if it is not there."""
    for candidate in (folder / name, folder / name.rpartition("/")[2]):
        if candidate.is_file():
            return candidate.resolve()
    return None


def take(file: RemoteFile, folder: Path, target: Path, link: bool) -> None:
    """Take a file from a mirror, after the checks of a fetched one.

    Parameters
    ----------
    link : bool
        Let it be a second name of the mirror's file, where the file system can: for what is only read.

    Raises
    ------
    MicroLensError
        It is not there, or is not the published one.
    """
    source = found_in(folder, file.name)
    if source is None:
        raise MicroLensError(
            f"{folder} has no file {file.name}. Put it there, or leave its kind out with --only."
        )
    if not is_intact(source, file):
        raise MicroLensError(
            f"{source} is not the published file: its size or checksum differs from the manifest's. Copy it "
            "again; if it was published anew, correct a manifest of your own (--print-manifest, then "
            "--manifest FILE)."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    if not (link and linked(source, target)):
        copied(source, target)


def linked(source: Path, target: Path) -> bool:
    """Give a file a second name; False where this file system, or the two, cannot."""
    beside = target.with_name(target.name + ".partial")
    try:
        beside.unlink(missing_ok=True)
        os.link(source, beside)
    except OSError:  # another file system, one without links, or a full one, of which copying will tell
        return False
    os.replace(beside, target)
    return True


def copied(source: Path, target: Path) -> None:
    """Copy the bytes of a file; it appears when all are there."""
    with naming(source), source.open("rb") as stream, written_whole(target, "wb") as out:
        shutil.copyfileobj(stream, out, 1 << 20)
