"""A form that is being uploaded: its files go to the disk as they come, whatever they claim to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from recbole_microlens.errors import printable
from recbole_microlens.export.service.limits import MAX_ID, MAX_TITLE
from recbole_microlens.export.service.problems import Refused, shortened
from recbole_microlens.media.sources import SOUND_SUFFIXES
from recbole_microlens.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES

_WORD = 20
TEXTS = {"item_id": MAX_ID, "title": MAX_TITLE, "cold": _WORD}
FILES = {"video": VIDEO_SUFFIXES, "cover": IMAGE_SUFFIXES, "audio": SOUND_SUFFIXES}
_BYTES_OF_A_CHARACTER = 4


@dataclass
class Upload:
    """What a form holds.

    Attributes
    ----------
    texts : dict[str, str]
        By field.
    files : dict[str, Path]
        By field; an empty one is as if it was not there.
    """

    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


async def received(
    chunks: AsyncIterator[bytes],
    content_type: str | None,
    folder: Path,
    executor: Executor,
    further: Collection[str] = (),
) -> Upload:
    """Write the files of a form into a folder, which the caller removes.

    Parameters
    ----------
    chunks : async iterator of bytes
        The body; whoever gives it limits its length.
    content_type : str, optional
        Of the request.
    executor : Executor
        Where it is parsed and written, so that the event loop waits for no disk.
    further : collection of str
        Further fields of text, as long as a title: what the run's ``title_template`` names.

    Raises
    ------
    Refused
        It is no form, or not of these fields.
    OSError
        A file cannot be written.
    """
    form = _Form(_boundary(content_type), folder, texts_of(further))
    loop = asyncio.get_running_loop()
    try:
        async for chunk in chunks:
            if chunk:
                await loop.run_in_executor(executor, form.write, chunk)
        return form.finished()
    finally:
        form.close()


def texts_of(further: Collection[str]) -> dict[str, int]:
    """Fields of text and their longest; no further field takes the name of one that there is."""
    return {**{name: MAX_TITLE for name in further if name not in FILES}, **TEXTS}


def _boundary(content_type: str | None) -> bytes:
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refused(415, "Send the item as multipart/form-data.")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046
        raise Refused(400, "The form's boundary is missing or too long.")
    return boundary


class _Form:
    """Takes the events of the parser, in the order in which the bytes come."""

    def __init__(self, boundary: bytes, folder: Path, longest: dict[str, int]):
        self._folder, self._longest = folder, longest
        self._upload = Upload()
        self._names: set[str] = set()
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._name = ""
        self._text = bytearray()
        self._file: IO[bytes] | None = None
        self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def write(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Refused(400, f"The form cannot be read: {printable(error)}.") from error

    def finished(self) -> Upload:
        if not self._is_complete:
            raise Refused(400, "The form ends before its last boundary.")
        return self._upload

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # it is removed anyway
                self._file.close()

    def _on_part_begin(self) -> None:
        self._disposition, self._name, self._text = b"", "", bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if name not in self._longest and name not in FILES:
            known = ", ".join((*TEXTS, *FILES, *(name for name in self._longest if name not in TEXTS)))
            raise Refused(422, f"The form has a field {shortened(name)!r}, but its fields are {known}.")
        if name in self._names:
            raise Refused(422, f"{name} is given twice.")
        self._names.add(name)
        self._name = name
        if name in FILES:
            self._file = (self._folder / f"{name}{_suffix(name, options.get(b'filename', b''))}").open("xb")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _BYTES_OF_A_CHARACTER * self._longest[self._name]:
            raise _too_long(self._name, self._longest[self._name])

    def _on_part_end(self) -> None:
        if self._file is None:
            self._upload.texts[self._name] = _decoded(self._name, self._text, self._longest[self._name])
            return
        path, is_empty = Path(self._file.name), not self._file.tell()
        self._file.close()
        self._file = None
        if not is_empty:
            self._upload.files[self._name] = path

    def _on_end(self) -> None:
        self._is_complete = True


def _suffix(name: str, filename: bytes) -> str:
    """What the file's name ends in, if it is one of those known: nothing else of it is used."""
    suffix = Path(filename.decode(errors="replace")).suffix.lower()
    return suffix if suffix in FILES[name] else ""


def _decoded(name: str, content: bytearray, longest: int) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Refused(422, f"{name} is not UTF-8.") from error
    if len(text) > longest:
        raise _too_long(name, longest)
    return text


def _too_long(name: str, longest: int) -> Refused:
    return Refused(422, f"{name} is longer than {longest} characters.")
