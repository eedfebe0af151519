"""Who may ask: whoever has the token; without one whoever is on this machine, but no page of another site."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from logging import getLogger

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service.problems import Refused, shortened

TOKEN = "RECBOLE_MICROLENS_TOKEN"
OPEN_PATHS = ("/", "/health")
"""What needs no token: the page, which asks for it, and whether the service is up."""

_SHORT = 16
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
_JSON = "application/json"


def token_of_environment() -> str | None:
    """The token, which leaves the environment: no process that is started has it.

    Raises
    ------
    MicroLensError
        It is empty, or holds what no header can.
    """
    token = os.environ.pop(TOKEN, None)
    if token is None:
        return None
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise MicroLensError(
            f"{TOKEN} is empty, or has spaces or characters that are not ASCII. Make one with: python -c "
            '"import secrets; print(secrets.token_urlsafe(32))"'
        )
    if len(token) < _SHORT:
        getLogger(__name__).warning(f"{TOKEN} is shorter than {_SHORT} characters: it can be guessed")
    return token


def require_token_or_loopback(host: str, token: str | None) -> None:
    """Raise a :class:`MicroLensError` for a service that others could reach and anybody could use."""
    if token is None and not is_loopback(host):
        raise MicroLensError(
            f"--host {host} can be reached by other machines, and no token is set. Set {TOKEN}, which "
            "clients then send (Authorization: Bearer ...), or leave --host out."
        )


def is_loopback(host: str) -> bool:
    """Whether an address, or the name localhost, is this machine's alone."""
    name = host.removeprefix("[").removesuffix("]").lower().rstrip(".")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Guard:
    """Middleware that refuses who may not ask.

    Attributes
    ----------
    app : ASGIApp
    token : str, optional
        Without one the service is on a loopback address, and what a browser could do from another site is
        refused: a name that was made to point here (DNS rebinding), a form that is sent from elsewhere.
    hosts : iterable of str
        Names besides localhost by which the service is known without a token.
    """

    app: ASGIApp
    token: str | None
    hosts: Iterable[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            if self.token is None:
                self._require_here(scope, headers)
            elif scope["path"] not in OPEN_PATHS:
                _require_token(headers, self.token)
            _require_json(scope, headers)
        await self.app(scope, receive, send)

    def _require_here(self, scope: Scope, headers: Headers) -> None:
        given = headers.getlist("host")
        match = _HOST.fullmatch(given[0]) if len(given) == 1 else None
        if match is None:
            raise Refused(400, "The Host header is missing, or names no host.")
        if not is_loopback(match[1]) and match[1].lower() not in self.hosts:
            raise Refused(
                403,
                f"{shortened(match[1])} is not a name of this service. Ask for localhost, or set {TOKEN}.",
            )
        is_visit = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and not is_visit:
            raise Refused(403, "A page of another site may not use this service.")
        origins = headers.getlist("origin")
        if any(origin.lower() not in _origins_of(given[0]) for origin in origins):
            raise Refused(403, "A page of another site may not use this service.")


def _origins_of(host: str) -> tuple[str, str]:
    return f"http://{host.lower()}", f"https://{host.lower()}"


def _require_token(headers: Headers, token: str) -> None:
    given = headers.getlist("authorization")
    scheme, _, word = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    is_right = hmac.compare_digest(word.strip().encode("latin-1", "replace"), token.encode())
    if scheme.lower() != "bearer" or not is_right:
        raise Refused(
            401,
            "Send the token of this service: Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": 'Bearer realm="recbole-microlens"'},
        )


def _require_json(scope: Scope, headers: Headers) -> None:
    """The type that a page of another site cannot send without asking first; uploads see to theirs."""
    if scope["method"] != "POST" or scope["path"] == "/items":
        return
    kinds = headers.getlist("content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != _JSON:
        raise Refused(415, f"Send the question as {_JSON}.")
