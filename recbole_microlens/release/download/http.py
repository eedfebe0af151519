"""Fetches one file over HTTP: in pieces if the connection breaks, whole or not at all under its name."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import requests
from tqdm import tqdm
from urllib3.exceptions import HTTPError

from recbole_microlens.errors import MicroLensError, first_line, printable
from recbole_microlens.files import naming, written_whole
from recbole_microlens.release.download.checks import is_intact, require_room, require_size
from recbole_microlens.release.download.manifest import RemoteFile
from recbole_microlens.release.download.session import MOST_REDIRECTS, Peer
from recbole_microlens.release.download.state import State

CONNECT_SECONDS, SILENT_SECONDS = 15, 60
WAITS = (0, 1, 2, 5, 10, 30, 60)
"""Seconds before a broken transfer is taken up again, by how often nothing has come since."""

_BLOCK = 1 << 16
_PROGRESS = 1 << 20  # bytes that count as progress, after which the waits begin anew
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_logger = logging.getLogger(__name__)


class NotThere(MicroLensError):
    """The server has no such file (404, 410)."""


class _Broken(Exception):
    """The connection broke off; what has come is kept."""


class _Changed(Exception):
    """What has come is not the beginning of what the server has now."""


def fetch(peer: Peer, file: RemoteFile, target: Path, partial: Path) -> None:
    """Fetch a file; it appears as ``target`` when it is whole and checked.

    What has come stays in ``partial``, with the file's tag and date beside it, and is continued by a range
    request that the server answers only for the same file (RFC 9110, If-Range). It is fetched anew where the
    server takes no ranges, has another file by now, or what is put together fails its checksum.

    Raises
    ------
    NotThere
        Status 404 or 410.
    MicroLensError
        Any other refusal; another size than published; a checksum that differs twice; a web page instead.
    """
    partial.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(peer, file, partial)
    for attempt in ("first", "anew"):
        transfer.run()
        if is_intact(partial, file):
            break
        transfer.discard()
        if attempt == "anew":
            algorithm = file.digest[0] if file.digest else "size"
            raise MicroLensError(
                f"{file.address}: the {algorithm} of what was fetched is not the published one, twice. If "
                f"the file was published anew (see {peer.page}), correct the manifest: --print-manifest, "
                "--manifest FILE."
            )
        _logger.warning(f"{file.name}: its checksum is wrong, it is fetched once more from the beginning")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, target)
    transfer.notes.unlink(missing_ok=True)


class _Transfer:
    """The bytes of one file, over as many connections as it takes."""

    def __init__(self, peer: Peer, file: RemoteFile, partial: Path):
        self.peer, self.file, self.partial, self.page = peer, file, partial, peer.page
        self.notes = partial.with_name(f"{partial.name}.json")
        self.failures = 0

    def run(self) -> None:
        """Receive all that is missing."""
        name = printable(self.file.name)
        with tqdm(desc=name, unit="B", unit_scale=True, delay=2, disable=None) as bar:
            while True:
                before = self.held()
                try:
                    self._receive(bar)
                    return
                except _Changed:
                    self.discard()
                    self.failures += 1
                    self._wait("the file has changed, it is fetched from the beginning")
                except _Broken as broken:
                    self.failures = 0 if self.held() >= before + _PROGRESS else self.failures + 1
                    self._wait(f"the connection broke off ({broken})")

    def held(self) -> int:
        """Bytes that have come."""
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def discard(self) -> None:
        """Forget what has come."""
        self.partial.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def _wait(self, why: str) -> None:
        if self.failures >= len(WAITS):
            raise MicroLensError(
                f"{self.file.address}: {why}, {self.failures} times in a row. Run the command again later: "
                "it continues where it stopped."
            )
        _logger.warning(f"{printable(self.file.name)}: {why}; {self.held():,} bytes are here, going on")
        time.sleep(WAITS[self.failures])

    def _receive(self, bar: tqdm) -> None:
        start, headers = self._resumption()
        with self._asked(headers) as response:
            self._require_good(response)
            start, total = self._place(response, start)
            if start < 0:  # all of it is here
                return
            require_size(self.file, total)
            require_room(self.partial.parent, (total or 0) - start, f"downloading {self.file.name}")
            if start == 0:  # before the notes say that it is the beginning of this file
                self.partial.unlink(missing_ok=True)
            state = State.of_answer(self.file.address, response, total)
            with written_whole(self.notes) as notes:
                notes.write(json.dumps(asdict(state)))
            bar.reset(total)
            bar.update(start)
            self._write(response, start, total, bar)

    def _resumption(self) -> tuple[int, dict[str, str]]:
        """Where to go on, and the headers that ask for it: only where the server, or a checksum, can tell
        another file from this one."""
        state, held = State.read(self.notes), self.held()
        is_same = state is not None and state.address == self.file.address
        if not held or state is None or not is_same or not (state.validator or self.file.digest):
            return 0, {}
        headers = {"Range": f"bytes={held}-"}
        return held, headers | ({"If-Range": state.validator} if state.validator else {})

    @contextmanager
    def _asked(self, headers: dict[str, str]) -> Iterator[requests.Response]:
        try:
            response = self.peer.session.get(
                self.file.address, headers=headers, stream=True, timeout=(CONNECT_SECONDS, SILENT_SECONDS)
            )
        except requests.exceptions.SSLError as error:
            raise MicroLensError(
                f"{self.file.address}: the server's certificate is not accepted ({first_line(error)}). "
                "Check the clock and the certificates of this machine (REQUESTS_CA_BUNDLE)."
            ) from error
        except requests.TooManyRedirects as error:
            raise MicroLensError(
                f"{self.file.address}: more than {MOST_REDIRECTS} redirects. See {self.page}."
            ) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            if self.peer.has_answered:
                raise _Broken(_cause(error)) from error
            raise MicroLensError(
                f"{self.file.address}: the server cannot be reached ({_cause(error)}). Check the network and "
                f"HTTPS_PROXY; the addresses may have moved: see {self.page}, --manifest and --from."
            ) from error
        except (requests.RequestException, HTTPError, UnicodeError) as error:
            raise MicroLensError(
                f"{self.file.address} cannot be asked ({first_line(error)}). Correct the address in a "
                "manifest of your own (--print-manifest, --manifest FILE)."
            ) from error
        self.peer.has_answered = True
        with response:
            yield response

    def _require_good(self, response: requests.Response) -> None:
        hops = [*(hop.url for hop in response.history), response.url]
        if any(
            one.startswith("https:") and other.startswith("http:")
            for one, other in zip(hops, hops[1:], strict=False)
        ):
            raise MicroLensError(
                f"{self.file.address}: redirected from https to http, which is not followed."
            )
        status = response.status_code
        if status in (200, 206, 416):
            return
        if status in (404, 410):
            raise NotThere(
                f"{self.file.address}: there is no such file (status {status}). The authors have moved "
                f"their files before: look for it at {self.page}, and correct the address in a copy of the "
                "manifest (--print-manifest, then --manifest FILE), or give a mirror with --from."
            )
        if status in (401, 403, 451):
            raise MicroLensError(
                f"{self.file.address}: the server refuses it (status {status}). It may want a form or a "
                f"login: see {self.page}. Files fetched by hand are taken with --from FOLDER."
            )
        advice = "Run the command again later: it continues where it stopped."
        raise MicroLensError(f"{self.file.address}: the server answers with status {status}. {advice}")

    def _place(self, response: requests.Response, start: int) -> tuple[int, int | None]:
        """Where the bytes of an answer belong, and the size of the whole; -1 if nothing is missing."""
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isascii() and length.isdigit() else None
        if response.status_code == 200:
            self._require_a_file(response)
            if (
                size is None
                and not response.raw.chunked
                and self.file.size is None
                and self.file.digest is None
            ):
                raise MicroLensError(
                    f"{self.file.address}: neither the server nor the manifest says how large it is, so "
                    "that half of it cannot be told from all. Add 'bytes' or 'sha256' to a manifest of your "
                    "own (--manifest)."
                )
            return 0, size if size is not None else self.file.size
        found = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        state = State.read(self.notes)
        if response.status_code == 206 and found and int(found[1]) == start:
            total = int(found[3]) if found[3] != "*" else None
            if state is not None and not state.may_be(response.headers.get("ETag"), total):
                raise _Changed
            return start, total
        unsatisfied = response.headers.get("Content-Range", "").strip()
        is_all = response.status_code == 416 and start and unsatisfied == f"bytes */{start}"
        if is_all and state is not None and state.may_be(None, start):
            return -1, start
        raise _Changed

    def _require_a_file(self, response: requests.Response) -> None:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise MicroLensError(
                f"{self.file.address}: the server answers with a web page, not with the file. It may have "
                f"moved, or want a login: see {self.page}. Files fetched by hand are taken with --from "
                "FOLDER."
            )
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise MicroLensError(
                f"{self.file.address}: the server sends it packed as {encoding}, which was not asked for. "
                "Fetch it with a browser, and take it from there with --from FOLDER."
            )

    def _write(self, response: requests.Response, start: int, total: int | None, bar: tqdm) -> None:
        held = start
        with naming(self.partial), self.partial.open("r+b" if start else "wb") as stream:
            stream.truncate(start)
            stream.seek(start)
            try:
                for block in response.raw.stream(_BLOCK, decode_content=False):
                    stream.write(block)
                    held += len(block)
                    bar.update(len(block))
                    if total is not None and held > total:
                        raise MicroLensError(
                            f"{self.file.address}: the server sends more than the {total:,} bytes that it "
                            "has announced. Run the command again; if it stays so, tell the authors."
                        )
            except HTTPError as error:
                raise _Broken(_cause(error)) from error
            finally:
                stream.flush()
                os.fsync(stream.fileno())
        if total is not None and held < total:
            raise _Broken(f"after {held:,} of {total:,} bytes")


def _cause(error: BaseException) -> str:
    """The innermost reason of what requests and urllib3 wrap several times."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    inner = reason if isinstance(reason, BaseException) else error
    text = re.sub(r"<[^<>]*object at 0x[0-9a-f]+>[:,]? ?", "", first_line(inner))
    return printable(text.strip("( ',)") or type(inner).__name__)
