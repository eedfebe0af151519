"""Connections as uvicorn holds them, but not too many, not for ever, and with JSON for what is no HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from recbole_microlens.export.service.problems import body_of


def protocol_of(most: int, header_seconds: float) -> type[H11Protocol]:
    """The protocol of a service.

    Parameters
    ----------
    most : int
        Connections; one more is told to come again, and closed.
    header_seconds : float
        Within which a request's head has to be there, of a new connection too.
    """

    class Connection(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > most:
                self._say(429, "The service has too many connections.", b"Retry-After: 1\r\n")
                return
            self._expect_a_request()

        def connection_lost(self, exc: Exception | None) -> None:
            self._expect_nothing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if self.cycle is None or self.cycle.response_complete:
                self._expect_a_request()
            else:
                self._expect_nothing()

        def send_400_response(self, msg: str) -> None:
            self._say(400, "This is not HTTP.")

        def _expect_a_request(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(header_seconds, self._give_up)

        def _expect_nothing(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._deadline = None
            if not self.transport.is_closing():
                self._say(408, "The request did not arrive in time.")

        def _say(self, status: int, detail: str, header: bytes = b"") -> None:
            """Answer without a request, if no other answer has begun, and close."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = body_of(detail)
                length = str(len(body)).encode()
                self.transport.write(
                    b"HTTP/1.1 " + str(status).encode() + b" \r\nContent-Type: application/json\r\n"
                    b"Content-Length: " + length + b"\r\nConnection: close\r\n" + header + b"\r\n" + body
                )
            self.transport.close()

    return Connection
