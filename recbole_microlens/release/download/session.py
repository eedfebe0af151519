"""A session that tries again where a server is busy or does not answer, and says how long it waits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from recbole_microlens.errors import MicroLensError

_PACKAGE = "recbole-microlens"
BACKOFF_SECONDS = 1.0
MOST_PATIENCE = 600
"""Seconds: a server that asks to wait longer ends the command."""

MOST_REDIRECTS = 10
_logger = logging.getLogger(__name__)


class _Patience(Retry):
    """Says how long it waits, and does not wait for ever."""

    def sleep(self, response=None) -> None:
        asked = self.get_retry_after(response) if response is not None else None
        if asked is not None and asked > MOST_PATIENCE:
            raise MicroLensError(
                f"the server asks to wait {asked:,.0f} s before the next request (status {response.status}). "
                "Run the command again then: it continues where it stopped."
            )
        if response is not None:
            wait = f"it asks to wait {asked:.0f} s" if asked else "trying again"
            _logger.warning(f"the server answers with status {response.status}: {wait}")
        super().sleep(response)


@dataclass
class Peer:
    """A session, the authors' page for messages, and whether any server has answered by now."""

    session: requests.Session
    page: str
    has_answered: bool = False


@contextmanager
def connected(page: str) -> Iterator[Peer]:
    """A session that tries again where a server is busy (429, 5xx) or does not answer; it minds
    ``HTTPS_PROXY`` and ``REQUESTS_CA_BUNDLE``.
    """
    patience = _Patience(
        total=None,
        connect=3,
        read=3,
        status=6,
        other=0,
        redirect=0,
        status_forcelist=(429, 500, 502, 503, 504),
        backoff_factor=BACKOFF_SECONDS,
        raise_on_status=False,
    )
    with requests.Session() as opened:
        opened.headers.update(
            {
                "User-Agent": _name(),
                "Accept-Encoding": "identity",
            }
        )
        opened.max_redirects = MOST_REDIRECTS
        for scheme in ("http://", "https://"):
            opened.mount(scheme, HTTPAdapter(max_retries=patience))
        yield Peer(opened, page)


def _name() -> str:
    """How this package names itself to servers, some of which refuse Python's own name."""
    try:
        return f"{_PACKAGE}/{version(_PACKAGE)}"
    except PackageNotFoundError:
        return _PACKAGE
