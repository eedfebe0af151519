"""What the service refuses, and how it says so: a status and one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.exceptions import HTTPException

from recbole_microlens.errors import did_you_mean, printable

_SHOWN = 60


class Refused(HTTPException):
    """A request is refused.

    Parameters
    ----------
    status : int
    detail : str
        One sentence for whoever asked.
    headers : mapping, optional
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None):
        super().__init__(status, printable(detail), headers)


def too_many(what: str, seconds: int = 1) -> Refused:
    """The refusal of a request that finds the service full."""
    return Refused(429, f"{what} Try again in {seconds} s.", {"Retry-After": str(seconds)})


def unknown(what: str, ids: Sequence[str]) -> Refused:
    """The refusal of a request that names ids that are not known."""
    shown = ", ".join(shortened(item) for item in ids[:3])
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return Refused(404, f"There is no {what} {shown}{more}.")


def body_of(detail: str) -> bytes:
    """The JSON of an answer that refuses."""
    return json.dumps({"detail": detail}).encode()


def in_words(errors: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> tuple[int, str]:
    """A status and one sentence for what pydantic found.

    Parameters
    ----------
    errors : sequence
        Of ``ValidationError.errors()``; the first is told.
    fields : sequence of str
        Names that the body may hold.
    """
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    if first["type"] == "json_invalid":
        return 400, "The body is not JSON."
    if first["type"] == "extra_forbidden":
        return 422, f"{shortened(place[-1])} is not known.{did_you_mean(place[-1][:_SHOWN], fields)}"
    if first["type"] == "missing" and not place:
        return 422, "The body is missing."
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return 422, f"{shortened('.'.join(place) or 'The body')}: {printable(message)}."


def shortened(text: str) -> str:
    """A word of a client, as it may be shown."""
    word = printable(text)
    return word if len(word) <= _SHOWN else word[:_SHOWN] + "..."
