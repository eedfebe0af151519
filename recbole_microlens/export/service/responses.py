"""Answers as JSON, and the refusals that OpenAPI promises of each endpoint."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response

from recbole_microlens.export.service.schemas import Problem

REASONS = {
    400: "It cannot be read.",
    401: "The token is missing or wrong.",
    403: "It comes from a page of another site, or for another host.",
    404: "An id is not known.",
    408: "It did not arrive in time.",
    409: "The id is taken, or the model cannot rank new items.",
    413: "It is too long.",
    415: "It is of another content type.",
    422: "It is not of this form, or it cannot be done.",
    429: "The service is full: try again after the seconds of Retry-After.",
    503: "It takes too long, or what is uploaded cannot be kept.",
}
ALWAYS = (400, 401, 403, 413, 429, 503)
OF_A_QUESTION = (404, 408, 415, 422)

Responses = dict[int | str, dict[str, Any]]


def refusals(*more: int) -> Responses:
    """What an endpoint may answer besides its answer."""
    return {status: {"model": Problem, "description": REASONS[status]} for status in sorted((*ALWAYS, *more))}


def as_json(content: Any, status: int = 200) -> Response:
    """An answer; what cannot be UTF-8 is a question mark in it."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return Response(text.encode("utf-8", "replace"), status, media_type="application/json")
