"""Every request is logged, counted and numbered, and is answered even where the service has a fault."""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from logging import getLogger

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_microlens.errors import is_out_of_memory
from recbole_microlens.export.service.metrics import Metrics
from recbole_microlens.export.service.problems import body_of

_GONE = 499  # the client, before it was answered: a word of other servers' logs
_MOST_OF_A_PATH = 200
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Observed:
    """The outermost middleware.

    Parameters
    ----------
    app : ASGIApp
    metrics : Metrics
    paths : collection of str
        Those without parameters, which are counted by their name even where a request is refused before it
        is known which of them it is for.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str]):
        self._app, self._metrics, self._paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, number, status = time.perf_counter(), secrets.token_hex(8), _GONE

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*_HEADERS, (b"x-request-id", number.encode())]
                message["headers"] = [*message.get("headers", []), *own]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            pass
        except Exception as error:
            getLogger(__name__).error(
                "a request failed", exc_info=True, extra={"fields": {"request": number}}
            )
            if status == _GONE:
                await _say_fault(error, sending)
        finally:
            self._note(scope, status, time.perf_counter() - began, number)

    def _note(self, scope: Scope, status: int, seconds: float, number: str) -> None:
        path = getattr(scope.get("route"), "path_format", None)
        known = scope["path"] if scope["path"] in self._paths else None
        self._metrics.answered(path or known, status, seconds)
        fields = {
            "method": scope["method"],
            "path": scope["path"][:_MOST_OF_A_PATH],
            "status": status,
            "ms": round(seconds * 1e3, 2),
            "request": number,
        }
        getLogger(__name__).info("request", extra={"fields": fields})


async def _say_fault(error: Exception, send: Send) -> None:
    is_full = is_out_of_memory(error)
    status = 503 if is_full else 500
    body = body_of("The service is out of memory." if is_full else "The service has a fault: see its log.")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
