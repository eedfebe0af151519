"""Unpacks an archive into a folder that appears when all of it is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError, printable
from recbole_microlens.files import written_whole
from recbole_microlens.release.download.archives import Member, opened_archive
from recbole_microlens.release.download.checks import require_room

MOST_TIMES = 200
"""An archive that unpacks to more than so many times its size is refused; text packs into a twentieth."""

_BLOCK = 1 << 20


def unpack(
    name: str, parts: Sequence[Path], folder: Path, scratch: Path, expected_bytes: int | None = None
) -> int:
    """Unpack an archive; return how many files it had.

    Files that an interrupted unpacking has left complete in ``scratch`` are not written again. If everything
    in the archive lies in one folder, that folder becomes ``folder``, whatever it is called.

    Parameters
    ----------
    name : str
        Of the archive, whose suffix says what it is.
    parts : Sequence[Path]
        Its parts in order.
    folder : Path
        Where the files go; it must not exist yet.
    scratch : Path
        A folder on the same file system, of this archive alone.
    expected_bytes : int, optional
        Of all files, where that is published.

    Raises
    ------
    MicroLensError
        The archive is damaged or unsafe (see :func:`~.archives.opened_archive`), unpacks to much more than
        its size or than what is expected, or to more than the disk has room for.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    packed = sum(path.stat().st_size for path in parts)
    budget = _Budget(name, packed, expected_bytes)
    count = 0
    with opened_archive(name, parts) as (members, total):
        if total is not None:
            budget.require(total)
            require_room(scratch, total - _bytes_below(scratch), f"unpacking {name}")
        with tqdm(
            total=total, desc=f"unpacking {printable(name)}", unit="B", unit_scale=True, delay=2, disable=None
        ) as bar:
            for member in members:
                budget.take(member.size)
                _write(member, scratch / member.name, name, check_room=total is None)
                bar.update(member.size)
                count += 1
    if not count:
        raise MicroLensError(f"{name} is empty. Remove it and run the command again.")
    top = _only_folder(scratch)
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(top or scratch, folder)
    shutil.rmtree(scratch, ignore_errors=True)
    return count


class _Budget:
    """How many bytes an archive may unpack to."""

    def __init__(self, name: str, packed: int, expected: int | None):
        self.name, self.taken = name, 0
        by_ratio = MOST_TIMES * max(packed, _BLOCK)
        self.most = by_ratio if expected is None else min(by_ratio, expected + expected // 20)
        self.reason = (
            f"{MOST_TIMES} times its size" if self.most == by_ratio else "the manifest's 'unpacked_bytes'"
        )

    def take(self, size: int) -> None:
        self.taken += size
        self.require(self.taken)

    def require(self, total: int) -> None:
        if total > self.most:
            raise MicroLensError(
                f"{self.name} would unpack to {total / 1e9:,.1f} GB or more, above {self.reason}: it is not "
                "unpacked. Look into it by hand (unzip -l, tar -t)."
            )


def _write(member: Member, path: Path, archive: str, check_room: bool) -> None:
    if path.is_file() and path.stat().st_size == member.size:
        return
    if check_room:
        require_room(
            path.parent if path.parent.is_dir() else path.parents[1], member.size, f"unpacking {archive}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with member.open() as source, written_whole(path, "wb") as out:
        count = 0
        while block := source.read(_BLOCK):
            count += len(block)
            if count > member.size:
                break
            out.write(block)
        if count != member.size:
            raise MicroLensError(
                f"{archive}: {printable(member.name)} has another size than the archive says: damaged. "
                "Remove the archive and run the command again."
            )


def _bytes_below(folder: Path) -> int:
    sizes = (
        os.stat(os.path.join(above, name)).st_size for above, _, names in os.walk(folder) for name in names
    )
    return sum(sizes)


def _only_folder(folder: Path) -> Path | None:
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else None
