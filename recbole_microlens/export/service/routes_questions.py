"""The endpoints that ask the model: ids are checked, and the question is handed to the model's thread."""

from __future__ import annotations

from fastapi import APIRouter, Response

from recbole_microlens.export.service import schemas
from recbole_microlens.export.service.answers import Audience, Question, recommended
from recbole_microlens.export.service.problems import Refused
from recbole_microlens.export.service.responses import OF_A_QUESTION, as_json, refusals
from recbole_microlens.export.service.service import Service


def router_of(service: Service) -> APIRouter:
    """``POST /recommend``, ``/similar`` and ``/audience``."""
    router, thread = APIRouter(tags=["questions"]), service.thread
    documented = refusals(*OF_A_QUESTION)

    @router.post("/recommend", response_model=schemas.Recommendations, responses=documented)
    async def recommend(asked: schemas.RecommendRequest) -> Response:
        """The k best items for each user or history."""
        _require_known(service, asked)
        question = Question(**{name: getattr(asked, name) for name in Question.__dataclass_fields__})
        if len(question) == 1:
            (user,) = question.users or (0,)
            found = [[{"user": user, "items": await service.gathering.ask(question)}]]
        else:
            found = await thread.do_parts(recommended(service.model, question))
        return as_json({"recommendations": [entry for part in found for entry in part]})

    @router.post("/similar", response_model=schemas.Similar, responses=documented)
    async def similar(asked: schemas.ItemsRequest) -> Response:
        """The k items most like each of some, by the cosine of their embeddings."""
        service.about.require_items(asked.items)
        found = await thread.do_parts(service.neighbours.of(asked.items, asked.k))
        return as_json({"similar": [entry for part in found for entry in part]})

    @router.post("/audience", response_model=schemas.Audiences, responses=documented)
    async def audience(asked: schemas.ItemsRequest) -> Response:
        """The k users to whom each of some items should be shown; every user is looked at."""
        service.about.require_items(asked.items)
        if service.model.users is None:
            raise Refused(422, "This run does not say who its users are.")
        found = Audience(service.model, asked.items, asked.k)
        await thread.do_parts(found.parts())
        return as_json({"audience": await thread.do(found.lists)})

    return router


def _require_known(service: Service, asked: schemas.RecommendRequest) -> None:
    if asked.users is not None and service.model.users is None:
        service.about.require_users(asked.users)  # says so
    if asked.on_unknown != "error":
        return
    if asked.users is not None:
        service.about.require_users(asked.users)
    for history in asked.histories or []:
        service.about.require_items(history)
    service.about.require_items(asked.items_to_recommend or [])
