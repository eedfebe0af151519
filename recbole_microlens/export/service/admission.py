"""How much of a request is taken, how long it may take, and how many are taken at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.problems import Refused, body_of, too_many

_FREE = ("/health", "/metrics")
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 32 << 20


class Admission:
    """Middleware: who comes when the service is full is told so at once, and nobody waits for ever."""

    def __init__(self, app: ASGIApp, limits: Limits):
        self._app, self._limits = app, limits
        self._running: Counter[str] = Counter()
        self._most = {
            "requests": limits.requests,
            "uploads": limits.uploads,
            "audiences": limits.audiences,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        kind = _kind_of(scope)
        with self._place(kind):
            seconds = None if kind == "uploads" else self._limits.answer_seconds
            try:
                async with asyncio.timeout(seconds):
                    await self._app(scope, receive, send)
            except TimeoutError as error:
                raise Refused(503, f"The answer takes longer than {seconds:.0f} s. Ask for less.") from error

    @contextmanager
    def _place(self, kind: str) -> Iterator[None]:
        if kind in self._most and self._running[kind] >= self._most[kind]:
            raise too_many(
                f"The service is busy with {self._most[kind]} {kind}.", 5 if kind != "requests" else 1
            )
        self._running[kind] += 1
        try:
            yield
        finally:
            self._running[kind] -= 1


def _kind_of(scope: Scope) -> str:
    if scope["path"] in _FREE:
        return "free"
    if scope["method"] == "POST" and scope["path"] in ("/items", "/audience"):
        return "uploads" if scope["path"] == "/items" else "audiences"
    return "requests"


class Body:
    """Middleware: reads no more of a body than is allowed, waits for no client for ever, and answers what is
    refused on the way.
    """

    def __init__(self, app: ASGIApp, limits: Limits):
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = _kind_of(scope) == "uploads"
        most = self._limits.upload_bytes if is_upload else self._limits.body_bytes
        seconds = self._limits.upload_seconds if is_upload else self._limits.answer_seconds
        exchange = _Exchange(receive, send, most, self._limits.idle_seconds, seconds)
        try:
            exchange.require_length(Headers(scope=scope))
            await self._app(scope, exchange.receive, exchange.send)
        except HTTPException as refusal:
            if exchange.is_answered:
                raise ClientDisconnect from refusal  # too late to say it
            await _answer(refusal, exchange.send)


async def _answer(refusal: HTTPException, send: Send) -> None:
    body = body_of(refusal.detail)
    headers = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(refusal.headers or {}),
    }
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": raw})
    await send({"type": "http.response.body", "body": body})


class _Exchange:
    """One request and its answer, as the application sees them."""

    def __init__(self, receive: Receive, send: Send, most: int, idle_seconds: float, seconds: float):
        self._receive, self._send = receive, send
        self._most, self._idle_seconds = most, idle_seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._taken = 0
        self._is_read = False
        self.is_answered = False

    def require_length(self, headers: Headers) -> None:
        """Refuse a body that says it is too long before any of it is read."""
        length = headers.get("content-length", "0")
        if len(length) > 18 or not length.isdecimal() or int(length) > self._most:
            raise self._too_long()
        self._is_read = length == "0" and "transfer-encoding" not in headers

    async def receive(self) -> Message:
        """The next piece of the body."""
        if self._is_read:
            return await self._receive()
        left = self._deadline - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(max(min(self._idle_seconds, left), 0.0)):
                message = await self._receive()
        except TimeoutError as error:
            raise Refused(408, "The request did not arrive in time.") from error
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._is_read = not message.get("more_body", False)
            if self._taken > self._most:
                raise self._too_long()
        return message

    async def send(self, message: Message) -> None:
        """A part of the answer; the rest of a body that nobody reads is read before the last part, or the
        client would lose the answer with the connection.
        """
        if message["type"] == "http.response.start":
            self.is_answered = True
            if not self._is_read:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if is_last and not self._is_read:
            await self._sent({**message, "more_body": True})
            await self._linger()
            message = {"type": "http.response.body", "body": b""}
        await self._sent(message)

    async def _sent(self, message: Message) -> None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self._send(message)
        except TimeoutError as error:
            raise ClientDisconnect from error  # it does not read

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while left > 0:
                    message = await self._receive()
                    if message["type"] != "http.request" or not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))

    def _too_long(self) -> Refused:
        return Refused(413, f"The request is longer than {self._most:,} bytes.")
