"""The server: binds, serves until it is told to end, and finishes what it is answering."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.recommender import Recommender
from recbole_microlens.export.service.app import application
from recbole_microlens.export.service.connections import protocol_of
from recbole_microlens.export.service.guard import require_token_or_loopback
from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.service import running

_BACKLOG = 128
_KEEP_ALIVE_SECONDS = 15
_MAX_HEAD_BYTES = 32 << 10


def serve(
    load: Callable[[], Recommender],
    state: Path,
    kind: str,
    host: str,
    port: int,
    token: str | None,
    limits: Limits,
    threads: int = 1,
    hosts: tuple[str, ...] = (),
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a model until SIGTERM or SIGINT.

    Parameters
    ----------
    load : Callable[[], Recommender]
        Called once the port is bound.
    state : Path
        The folder of what the service keeps.
    kind : {'exact', 'hnsw', 'ivf'}
        How items are searched.
    host, port : str, int
        Where it listens; port 0 is any that is free.
    token : str, optional
        What clients have to send; there must be one where other machines can reach the service.
    limits : Limits
    threads : int, default 1
        Of one computation.
    hosts : tuple of str
        Names besides localhost by which it is known.
    ready : Callable[[str], None]
        Called with the address when it answers.

    Raises
    ------
    MicroLensError
        It cannot listen there, or :func:`~recbole_microlens.export.service.service.running` raises.
    """
    require_token_or_loopback(host, token)
    with _bound(host, port) as listener, running(load(), state, kind, limits, threads) as service:
        address = _address(listener)
        server = _Server(_config(application(service, token, (host, *hosts)), limits), lambda: ready(address))
        listener.listen(_BACKLOG)
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends well on a signal: uvicorn would raise it again when all is done."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=protocol_of(limits.connections, limits.header_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=limits.shutdown_seconds,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
    )


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    name = host.removeprefix("[").removesuffix("]")
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise MicroLensError(
            f"--host {host} is no address of this machine ({error}). Choose another."
        ) from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise MicroLensError(_why_not(error, host, port)) from error
        yield listener


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is in use. End what listens there, or choose another with --port."
    if error.errno == errno.EACCES:
        return f"Port {port} is not yours to listen on. Choose one above 1023 with --port."
    return f"{host} port {port}: {error.strerror}. Choose another --host or --port."


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
