"""The endpoints of items and users: what is known of them, and how a new item is added."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Collection
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from recbole_microlens.export.service import schemas
from recbole_microlens.export.service.journal import JournalError
from recbole_microlens.export.service.limits import MAX_ID, MAX_LISTED
from recbole_microlens.export.service.problems import Refused
from recbole_microlens.export.service.responses import Responses, as_json, refusals
from recbole_microlens.export.service.service import Service
from recbole_microlens.export.service.uploads import FILES, TEXTS, received, texts_of
from recbole_microlens.files import in_words

_Id = Annotated[str, Path(min_length=1, max_length=MAX_ID)]
_Limit = Annotated[int, Query(ge=1, le=MAX_LISTED)]

_PICTURE: Responses = {200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}}


def _form(further: Collection[str]) -> dict[str, Any]:
    """The body of an upload, with the fields that the run's template names."""
    properties: dict[str, Any] = {
        name: {"type": "string", "maxLength": longest} for name, longest in texts_of(further).items()
    }
    properties |= {
        "item_id": {"type": "string", "minLength": 1, "maxLength": TEXTS["item_id"]},
        "cold": {"type": "string", "enum": ["content"]},
        **{name: {"type": "string", "format": "binary"} for name in FILES},
    }
    form = {
        "type": "object",
        "required": ["item_id"],
        "additionalProperties": False,
        "properties": properties,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


def router_of(service: Service) -> APIRouter:
    """``/items`` and ``/users``."""
    router, about = APIRouter(tags=["items and users"]), service.about

    @router.post(
        "/items",
        status_code=201,
        response_model=schemas.Added,
        responses=refusals(408, 409, 415, 422),
        openapi_extra=_form(service.arrivals.text_fields),
    )
    async def add_item(request: Request) -> Response:
        """Rank a new item by its video, cover, sound or title: by what the model looks at."""
        return as_json(await _added(service, request), 201)

    @router.get(
        "/items/{item_id:path}/thumbnail",
        response_class=Response,
        responses={**refusals(404, 422), **_PICTURE},
    )
    async def thumbnail(item_id: _Id) -> Response:
        """A small picture of an item."""
        about.require_items([item_id])
        found = await asyncio.get_running_loop().run_in_executor(service.disk, service.picture, item_id)
        if not found:
            raise Refused(404, "There is no picture of this item.")
        return Response(found, media_type="image/jpeg")

    @router.get("/items/{item_id:path}", response_model=schemas.Item, responses=refusals(404, 422))
    async def item(item_id: _Id) -> Response:
        """An item of the run, or a new one."""
        return as_json(about.item(item_id))

    @router.get("/users", response_model=schemas.Users, responses=refusals(422))
    async def users(limit: _Limit = 20) -> Response:
        """The first users, and how many there are."""
        return as_json(about.users(limit))

    @router.get("/users/{user_id:path}", response_model=schemas.User, responses=refusals(404, 422))
    async def user(user_id: _Id) -> Response:
        """What a user has seen, and what came next."""
        return as_json(about.user(user_id))

    return router


async def _added(service: Service, request: Request) -> dict[str, Any]:
    began = time.perf_counter()
    reason = service.arrivals.reason_against("content")
    if reason:  # before anything is read
        raise Refused(409, reason)
    folder = service.uploads / secrets.token_hex(8)
    try:
        folder.mkdir()
        kind = request.headers.get("content-type")
        with service.metrics.stage("receive"):
            upload = await received(
                request.stream(), kind, folder, service.disk, service.arrivals.text_fields
            )
        return await service.arrivals.add(upload, began)
    except JournalError as error:
        raise Refused(503, str(error)) from error
    except OSError as error:
        error.filename, error.filename2 = "The upload", None
        raise Refused(503, in_words(error, "try again")) from error
    finally:
        service.disk.submit(shutil.rmtree, folder, ignore_errors=True)
