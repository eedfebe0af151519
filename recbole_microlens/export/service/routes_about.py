"""The endpoints about the service: its page, its model, its health, its numbers, its documentation."""

from __future__ import annotations

from functools import cache

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import HTMLResponse

from recbole_microlens.export.service import metrics, schemas
from recbole_microlens.export.service.docs_page import docs_page
from recbole_microlens.export.service.responses import Responses, as_json, refusals
from recbole_microlens.export.service.service import Service

_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_FRAMES = {"Content-Security-Policy": "frame-ancestors 'none'"}  # the page says the rest itself
_STILL = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}


def router_of(service: Service, app: FastAPI, needs_token: bool) -> APIRouter:
    """``/``, ``/model``, ``/health``, ``/metrics``, ``/docs`` and ``/openapi.json``."""
    router = APIRouter(tags=["service"])

    @router.get("/", response_class=HTMLResponse, responses=refusals())
    async def page() -> Response:
        """The page to ask the model on."""
        return HTMLResponse(_page(), headers=_FRAMES)

    @router.get("/model", response_model=schemas.About, responses=refusals())
    async def model() -> Response:
        """What the model is and can do."""
        return as_json(service.about.model())

    @router.get("/health", response_model=schemas.Health, responses=refusals())
    async def health() -> Response:
        """Whether the service is up; answered whatever it computes."""
        return as_json(service.about.health())

    @router.get("/metrics", response_class=Response, responses={**refusals(), **_TEXT})
    async def numbers() -> Response:
        """Counters in Prometheus's text format."""
        return Response(service.metrics.text(), media_type=metrics.CONTENT_TYPE)

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return as_json(app.openapi())

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(_docs(), headers=_STILL)

    @cache
    def _page() -> str:
        from recbole_microlens.export.page.live import live_page

        return live_page({**service.about.model(), "needs_token": needs_token})

    @cache
    def _docs() -> str:
        return docs_page(app.openapi())

    return router
