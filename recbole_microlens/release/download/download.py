"""Downloads a release: every chosen file fetched or taken from a mirror, checked, unpacked, and named."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path

from tqdm import tqdm

from recbole_microlens.errors import MicroLensError
from recbole_microlens.files import locked_folder, written_whole
from recbole_microlens.release.download import http, mirror
from recbole_microlens.release.download.checks import is_intact, require_room
from recbole_microlens.release.download.manifest import Entry, Manifest, RemoteFile
from recbole_microlens.release.download.session import Peer, connected
from recbole_microlens.release.download.unpack import unpack
from recbole_microlens.release.writer import require_folder

SCRATCH = ".download"
"""Folder, inside the release's, of what is not whole yet."""

_LICENCE = "licence-accepted.txt"
_MOST_ABSENT_AT_FIRST = 20


@dataclass
class Downloaded:
    """What a download came to: names that are there now, which of them were before, and which are nowhere.

    Attributes
    ----------
    folder : Path
        The release's folder.
    new, kept : list[str]
        Files and folders that this call brought, and that were there.
    absent : list[str]
        Numbered files that the server does not have.
    unchecked : list[str]
        New ones of which neither size nor checksum is published.
    """

    folder: Path
    new: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def download(
    manifest: Manifest,
    out: Path,
    only: tuple[str, ...] = (),
    mirror_folder: Path | None = None,
    accepts: Callable[[Manifest, tuple[Entry, ...]], bool] = lambda manifest, entries: False,
    keep_archives: bool = False,
) -> Downloaded:
    """Bring the chosen files of a release into a folder that ``convert`` takes.

    A file stands under its name only when it is whole and has passed the checks for which something is
    published. What is there already is left alone. An interrupted call is continued by the next one.

    Parameters
    ----------
    manifest : Manifest
        See :func:`~recbole_microlens.release.download.manifest.read_manifest`.
    out : Path
        The release's folder.
    only : tuple[str, ...], default ()
        Kinds of files; by default all that are not optional.
    mirror_folder : Path, optional
        A folder that has the files, or the unpacked folders, under their published names.
    accepts : callable
        Whether the user accepts the terms; asked once for a folder.
    keep_archives : bool, default False
        Leave archives in ``<out>/.download`` after they are unpacked.

    Raises
    ------
    MicroLensError
        The terms are not accepted, a file cannot be had or is another one, there is too little room, or
        another process downloads into this folder.
    """
    entries = manifest.chosen(only)
    require_folder(out, "--out")
    if mirror_folder is not None and not mirror_folder.is_dir():
        raise MicroLensError(
            f"--from {mirror_folder}: there is no such folder. Give a folder or an http address."
        )
    _require_accepted(manifest, entries, out, accepts)
    with ExitStack() as stack:
        if not stack.enter_context(locked_folder(out / SCRATCH)):
            raise MicroLensError(f"{out}: another process downloads into it. Wait for it to end, or stop it.")
        peer = stack.enter_context(connected(manifest.page)) if mirror_folder is None else None
        job = _Job(manifest, out, mirror_folder, peer, keep_archives)
        _require_room_for(job, entries)
        for entry in entries:
            job.bring(entry)
        return job.done


def _require_accepted(manifest: Manifest, entries: tuple[Entry, ...], out: Path, accepts) -> None:
    stamp = out / SCRATCH / _LICENCE
    if stamp.is_file() and stamp.read_text(encoding="utf-8", errors="replace") == f"{manifest.licence}\n":
        return
    if not accepts(manifest, entries):
        raise MicroLensError(
            f"The terms of {manifest.release} were not accepted, and nothing was downloaded."
        )
    stamp.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(stamp) as stream:
        stream.write(f"{manifest.licence}\n")


def _require_room_for(job: _Job, entries: tuple[Entry, ...]) -> None:
    """As far as sizes are published; what servers and archives say is checked when it is known."""
    needed = 0
    for entry in entries:
        if not (entry.folder and (job.out / entry.folder).exists()):
            missing = [file for file in entry.files if not job.path_of(entry, file).exists()]
            needed += sum(file.size or 0 for file in missing) + (entry.unpacked_bytes or 0)
    require_room(job.out, needed, f"downloading {job.manifest.release}")


@dataclass
class _Job:
    """Where files come from and go to."""

    manifest: Manifest
    out: Path
    mirror_folder: Path | None
    peer: Peer | None
    keep_archives: bool

    def __post_init__(self) -> None:
        self.done = Downloaded(self.out)

    def path_of(self, entry: Entry, file: RemoteFile) -> Path:
        """Where a file stands when it is whole: the parts of an archive only until they are unpacked."""
        return (self.out / SCRATCH if entry.folder else self.out) / file.name

    def bring(self, entry: Entry) -> None:
        """Bring the files of one entry."""
        if entry.folder:
            self._bring_archive(entry)
        elif entry.numbered:
            self._bring_numbered(entry)
        else:
            for file in entry.files:
                self._bring_file(file)

    def _bring_file(self, file: RemoteFile) -> None:
        target = self.out / file.name
        if target.exists():
            _require_same(target, file)
            self.done.kept.append(file.name)
            return
        self._get(file, target, link=False)
        self.done.new.append(file.name)
        if file.size is None and file.digest is None:
            self.done.unchecked.append(file.name)

    def _bring_numbered(self, entry: Entry) -> None:
        """Files of which some may be missing; not the first ones, nor all."""
        brought = 0
        bar = tqdm(entry.files, desc=entry.kind, unit=" files", delay=2, disable=None)
        for file in bar:
            target = self.out / file.name
            if target.exists():
                brought += 1
                continue
            if self.mirror_folder and mirror.found_in(self.mirror_folder, file.name) is None:
                self.done.absent.append(file.name)
                continue
            try:
                self._get(file, target, link=True)
                brought += 1
            except http.NotThere:
                self.done.absent.append(file.name)
                if not brought and len(self.done.absent) >= min(_MOST_ABSENT_AT_FIRST, len(entry.files)):
                    raise
        if not brought:
            raise MicroLensError(
                f"{self.mirror_folder} has no {entry.kind}: looked for e.g. {entry.files[0].name}."
            )
        self.done.new.append(f"{brought:,} {entry.kind}")

    def _bring_archive(self, entry: Entry) -> None:
        assert entry.folder is not None and entry.archive is not None
        folder = self.out / entry.folder
        if folder.exists():
            self.done.kept.append(entry.folder)
            return
        if self._bring_unpacked(entry, folder):
            return
        parts = [self.path_of(entry, file) for file in entry.files]
        for file, part in zip(entry.files, parts, strict=True):
            if not (part.exists() and is_intact(part, file)):
                self._get(file, part, link=True)
        if any(file.size is None and file.digest is None for file in entry.files):
            self.done.unchecked.append(entry.archive)
        unpack(entry.archive, parts, folder, self._scratch(entry, parts), entry.unpacked_bytes)
        if not self.keep_archives:
            for part in parts:
                part.unlink(missing_ok=True)
        self.done.new.append(entry.folder)

    def _scratch(self, entry: Entry, parts: list[Path]) -> Path:
        """A folder of this archive alone: what another one has left there goes."""
        stamps = [(status.st_size, status.st_mtime_ns) for status in (part.stat() for part in parts)]
        below = self.out / SCRATCH / f"{entry.folder}.unpacking"
        scratch = below / f"{zlib.crc32(repr(stamps).encode()):08x}"
        for left in below.iterdir() if below.is_dir() else ():
            if left != scratch:
                shutil.rmtree(left)
        return scratch

    def _bring_unpacked(self, entry: Entry, folder: Path) -> bool:
        """Take a folder of a mirror that was unpacked there."""
        if self.mirror_folder is None or entry.folder is None:
            return False
        source = self.mirror_folder / entry.folder
        if not source.is_dir() or source.resolve() == folder.resolve():
            return False
        scratch = self.out / SCRATCH / f"{entry.folder}.taken"
        scratch.mkdir(parents=True, exist_ok=True)
        paths = sorted(path for path in source.rglob("*") if path.is_file())
        for path in tqdm(paths, desc=entry.kind, unit=" files", delay=2, disable=None):
            target = scratch / path.relative_to(source)
            if target.is_file() and target.stat().st_size == path.stat().st_size:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if not mirror.linked(path.resolve(), target):
                mirror.copied(path, target)
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch.replace(folder)
        self.done.new.append(entry.folder)
        self.done.unchecked.append(entry.folder)
        return True

    def _get(self, file: RemoteFile, target: Path, link: bool) -> None:
        if self.mirror_folder is not None:
            mirror.take(file, self.mirror_folder, target, link)
            return
        assert self.peer is not None
        partial = self.out / SCRATCH / f"{file.name}.partial"
        http.fetch(self.peer, file, target, partial)
        getLogger().debug("%s: fetched from %s", target, file.address)


def _require_same(path: Path, file: RemoteFile) -> None:
    if not path.is_file():
        raise MicroLensError(f"{path} is no file. Move it away, or choose another folder with --out.")
    if not is_intact(path, file):
        raise MicroLensError(
            f"{path} is there, and its size or checksum is not the published one: changed, or of another "
            "edition. Move it away to have it downloaded, or leave its kind out with --only."
        )
