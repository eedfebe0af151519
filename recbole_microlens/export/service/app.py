"""The application: endpoints, what they refuse, and what every request passes before it reaches them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from recbole_microlens import __version__
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service import routes_about, routes_items, routes_questions, schemas
from recbole_microlens.export.service.admission import Admission, Body
from recbole_microlens.export.service.guard import Guard
from recbole_microlens.export.service.observed import Observed
from recbole_microlens.export.service.problems import body_of, in_words
from recbole_microlens.export.service.service import Service

_ABOUT = "A trained recommender: what to show whom, what is like what, and whom a new video is for."
_NO_TELEMETRY = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
_FIELDS = (*schemas.RecommendRequest.model_fields, *schemas.ItemsRequest.model_fields)


def application(service: Service, token: str | None = None, hosts: Iterable[str] = ()) -> ASGIApp:
    """The ASGI application of a service.

    Parameters
    ----------
    service : Service
    token : str, optional
        What clients have to send.
    hosts : iterable of str
        See :class:`~recbole_microlens.export.service.guard.Guard`.
    """
    app = endpoints(service, token is not None)
    paths = {path for path in app.openapi()["paths"] if "{" not in path}
    admission = Admission(app, service.limits)
    guard = Guard(admission, token, frozenset(host.lower() for host in hosts))
    return Observed(Body(guard, service.limits), service.metrics, paths)


def endpoints(service: Service, needs_token: bool) -> FastAPI:
    """The endpoints alone."""
    more: dict[str, Any] = {"telemetry": _NO_TELEMETRY}
    app = FastAPI(
        title="recbole-microlens",
        description=_ABOUT,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        **more,
    )
    for router in (
        routes_questions.router_of(service),
        routes_items.router_of(service),
        routes_about.router_of(service, app, needs_token),
    ):
        app.include_router(router)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(MicroLensError, _impossible(str(service.model.folder)))
    app.add_exception_handler(Exception, _fault)
    return app


def _problem(status: int, detail: str, headers: Any = None) -> Response:
    return Response(body_of(detail), status, headers, media_type="application/json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, error.detail, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _problem(*in_words(error.errors(), _FIELDS))


def _impossible(folder: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        return _problem(422, str(error).replace(folder, "this run"))  # where it lies is nobody's business

    return handle


async def _fault(request: Request, error: Exception) -> Response:
    """The error itself goes on to the log."""
    return _problem(500, "The service has a fault: see its log.")
