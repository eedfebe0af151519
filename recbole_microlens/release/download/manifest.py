"""The manifest of published files: which there are, where, how large, and under which terms."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import yaml

from recbole_microlens.errors import MicroLensError, did_you_mean, first_line
from recbole_microlens.release.download.names import is_safe

KINDS = ("pairs", "titles", "likes_and_views", "tags", "covers", "videos", "frames", "audios", "comments")
"""What ``--only`` takes."""

_VERSION = 1
_MOST_NUMBERED = 5_000_000
_MOST_BYTES = 16 << 20
_DIGEST_LENGTHS = {"md5": 32, "sha256": 64}
_OF_FILE = frozenset({"name", "address", "bytes", "numbers", *_DIGEST_LENGTHS})
_OF_ENTRY = _OF_FILE | {"kind", "archive", "parts", "folder", "unpacked_bytes", "optional"}
_OF_RELEASE = frozenset({"page", "base", "licence", "files"})
_NUMBER = re.compile(r"\{number(?::0(\d)d)?\}")


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes
    ----------
    name : str
        Its path below the release's folder, with slashes.
    address : str
        Where it is published, http or https.
    size : int | None
        Bytes, where they are known.
    digest : tuple[str, str] | None
        The name of a checksum and its hexadecimal digits, where one is known.
    """

    name: str
    address: str
    size: int | None = None
    digest: tuple[str, str] | None = None


@dataclass(frozen=True)
class Entry:
    """Files that belong together: one, numbered ones of which some may be missing, or parts of an archive.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`.
    files : tuple[RemoteFile, ...]
        The parts of an archive in their order.
    archive, folder : str | None
        The name of the archive, whose suffix says what it is, and the folder that it becomes.
    unpacked_bytes : int | None
        Of all files in the archive, where that is known.
    numbered : bool
        Whether they are single numbered files.
    optional : bool
        Whether only ``--only`` takes it.
    """

    kind: str
    files: tuple[RemoteFile, ...]
    archive: str | None = None
    folder: str | None = None
    unpacked_bytes: int | None = None
    numbered: bool = False
    optional: bool = False

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where some size is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


@dataclass(frozen=True)
class Manifest:
    """The published files of one release, the authors' page, and their terms."""

    release: str
    page: str
    licence: str
    entries: tuple[Entry, ...]

    def chosen(self, only: tuple[str, ...]) -> tuple[Entry, ...]:
        """The entries of some kinds; without ``only`` all that are not optional.

        Raises
        ------
        MicroLensError
            A kind is unknown, or none of its files is published.
        """
        for kind in only:
            if kind not in KINDS:
                raise MicroLensError(
                    f"--only {kind}: give some of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"
                )
            if not any(entry.kind == kind for entry in self.entries):
                there = ", ".join(dict.fromkeys(entry.kind for entry in self.entries))
                raise MicroLensError(
                    f"--only {kind}: the manifest has no {kind} of {self.release}, but {there}. If you know "
                    "an address, add it to a copy of the manifest (--print-manifest) and give that with "
                    "--manifest."
                )
        return tuple(entry for entry in self.entries if (entry.kind in only if only else not entry.optional))


def manifest_text() -> str:
    """The manifest of this package, as YAML."""
    return package_files(__package__).joinpath("manifest.yaml").read_text(encoding="utf-8")


def read_manifest(release: str, path: Path | None = None, base: str | None = None) -> Manifest:
    """Read what is published of one release.

    Parameters
    ----------
    release : str
        ``microlens-50k``, ``microlens-100k``, ``microlens-1m``, or another one of the manifest's.
    path : Path, optional
        A manifest of the user's; by default that of this package.
    base : str, optional
        An http address that takes the place of every address of the manifest.

    Raises
    ------
    MicroLensError
        The file is no manifest, lacks the release, or an entry of it is wrong.
    """
    where = str(path) if path else "the manifest of this package"
    whole = _mapping(_parsed(path, where), where, frozenset({"version", "licence", "releases"}))
    if whole.get("version") != _VERSION:
        raise MicroLensError(
            f"{where}: 'version' must be {_VERSION}. Copy the present one: --print-manifest."
        )
    releases = _mapping(whole.get("releases"), f"{where}: releases")
    if release not in releases:
        raise MicroLensError(
            f"{where} has no release {release!r}, but {', '.join(releases)}.{did_you_mean(release, releases)}"
        )
    where = f"{where}: {release}"
    content = _mapping(releases[release], where, _OF_RELEASE)
    listed = content.get("files")
    if not isinstance(listed, list) or not listed:
        raise MicroLensError(f"{where}: 'files' must be a list of at least one file.")
    own_base = _address(base or _text(content, "base", where), where).rstrip("/") + "/"
    reader = _Reader(own_base, replace=base is not None)
    entries = tuple(
        reader.entry(item, f"{where}, file {place}") for place, item in enumerate(listed, start=1)
    )
    _require_distinct(entries, where)
    page = content.get("page") or reader.base
    return Manifest(release, str(page), _text(content, "licence", where).strip(), entries)


@dataclass(frozen=True)
class _Reader:
    """Reads entries; ``replace`` puts ``base`` in the place of their own addresses too."""

    base: str
    replace: bool

    def entry(self, item: Any, where: str) -> Entry:
        content = _mapping(item, where, _OF_ENTRY)
        kind = _text(content, "kind", where)
        if kind not in KINDS:
            raise MicroLensError(
                f"{where}: kind {kind!r} is none of {', '.join(KINDS)}.{did_you_mean(kind, KINDS)}"
            )
        optional = content.get("optional") is True
        if "archive" not in content:
            files = tuple(self._files(content, where))
            return Entry(kind, files, numbered="numbers" in content, optional=optional)
        archive = _safe(_text(content, "archive", where), where)
        parts = content.get("parts", [{"name": archive}])
        if not isinstance(parts, list) or not parts:
            raise MicroLensError(f"{where}: 'parts' must be a list of files, in the order of the archive.")
        mappings = [_mapping(part, f"{where}, parts", _OF_FILE) for part in parts]
        files = tuple(file for part in mappings for file in self._files(part, where))
        folder = _safe(_text(content, "folder", where), where)
        return Entry(
            kind, files, archive, folder, _count(content, "unpacked_bytes", where), optional=optional
        )

    def _files(self, content: Mapping, where: str) -> Iterator[RemoteFile]:
        name = _text(content, "name", where)
        numbers = content.get("numbers")
        if numbers is None:
            yield self._file(content, name, where)
            return
        for number in _range(numbers, where):
            numbered = {
                key: _with_number(value, number) if key in ("name", "address") and value else value
                for key, value in content.items()
            }
            if numbered["name"] == name:
                raise MicroLensError(f"{where}: {name!r} has 'numbers', but no {{number}} in its name.")
            yield self._file(numbered, numbered["name"], where)

    def _file(self, content: Mapping, name: str, where: str) -> RemoteFile:
        name = _safe(name, where)
        own = None if self.replace else content.get("address")
        address = _address(str(own), where) if own else urljoin(self.base, quote(name))
        return RemoteFile(name, address, _count(content, "bytes", where), _digest(content, where))


def _parsed(path: Path | None, where: str) -> Any:
    if path is not None and not path.is_file():
        raise MicroLensError(f"--manifest {path}: there is no such file. Make one with --print-manifest.")
    if path is not None and path.stat().st_size > _MOST_BYTES:
        raise MicroLensError(f"--manifest {path}: more than {_MOST_BYTES:,} bytes are no list of files.")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8") if path else manifest_text())
    except UnicodeDecodeError as error:
        raise MicroLensError(f"{where} is not UTF-8 text. Give a YAML file.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise MicroLensError(
            f"{where} is not YAML: {first_line(error)}. Start from --print-manifest."
        ) from error


def _mapping(content: Any, where: str, known: frozenset[str] | None = None) -> dict:
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise MicroLensError(f"{where} must be a mapping of names to values. Compare with --print-manifest.")
    unknown = [key for key in content if known is not None and key not in known]
    if unknown:
        raise MicroLensError(
            f"{where}: {unknown[0]!r} is not known.{did_you_mean(unknown[0], known or ())} Compare with "
            "--print-manifest."
        )
    return content


def _text(content: Mapping, key: str, where: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not value.strip():
        raise MicroLensError(f"{where}: '{key}' is missing or no text. Compare with --print-manifest.")
    return value


def _safe(name: str, where: str) -> str:
    if not is_safe(name):
        raise MicroLensError(
            f"{where}: {name!r} is no path below a folder. Write it like MicroLens_videos/1.mp4."
        )
    return name


def _address(text: str, where: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise MicroLensError(f"{where}: {text!r} is no http or https address.")
    return text


def _count(content: Mapping, key: str, where: str) -> int | None:
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MicroLensError(f"{where}: '{key}' is {value!r}. Write a whole number of bytes, or null.")
    return value


def _digest(content: Mapping, where: str) -> tuple[str, str] | None:
    for algorithm, length in reversed(_DIGEST_LENGTHS.items()):
        value = content.get(algorithm)
        if value is None:
            continue
        if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", value):
            raise MicroLensError(
                f"{where}: '{algorithm}' is {value!r}. Write {length} hexadecimal digits, or null."
            )
        return algorithm, value.lower()
    return None


def _range(numbers: Any, where: str) -> range:
    fits = isinstance(numbers, list) and len(numbers) == 2 and all(type(number) is int for number in numbers)
    if not fits or not 0 <= numbers[0] <= numbers[1] < numbers[0] + _MOST_NUMBERED:
        raise MicroLensError(f"{where}: 'numbers' is {numbers!r}. Write the first and the last: [1, 222].")
    return range(numbers[0], numbers[1] + 1)


def _with_number(text: str, number: int) -> str:
    return _NUMBER.sub(lambda found: str(number).zfill(int(found[1] or 0)), str(text))


def _require_distinct(entries: tuple[Entry, ...], where: str) -> None:
    """Two entries must not write to one place; folders come with all that is in them."""
    names = [
        name
        for entry in entries
        for name in ([entry.folder] if entry.folder else [f.name for f in entry.files])
    ]
    twice = (
        next((name for name in names if name and names.count(name) > 1), None) if len(names) < 1000 else None
    )
    if len(set(names)) != len(names):
        raise MicroLensError(f"{where}: two entries are written to one place{f', {twice}' if twice else ''}.")
