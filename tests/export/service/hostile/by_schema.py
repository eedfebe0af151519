"""Requests drawn from the service's OpenAPI, as it says and not, and what is wrong with the answers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


def with_known(document: dict[str, Any], users: list[str], items: list[str]) -> dict[str, Any]:
    """The same where every id is one that is known: what is drawn from it is answered."""
    known = copy.deepcopy(document)
    schemas = known["components"]["schemas"]
    asked = schemas["RecommendRequest"]["properties"]
    asked["users"]["anyOf"][0]["items"] = {"enum": users}
    asked["histories"]["anyOf"][0]["items"]["items"] = {"enum": items}
    asked["items_to_recommend"]["anyOf"][0]["items"] = {"enum": items}
    schemas["ItemsRequest"]["properties"]["items"]["items"] = {"enum": items}
    for path, operations in known["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            if parameter["in"] == "path":
                parameter["schema"] = {"enum": users if path.startswith("/users") else items}
    return known


def ask(
    address: str, document: dict[str, Any], name: str, mode: GenerationMode, each: int, number: int
) -> tuple[Counter, list[str]]:
    """Ask every endpoint ``each`` times.

    Returns
    -------
    Counter
        Answers by (name, status).
    list of str
        What is wrong.
    """
    schema, found, wrong = schemathesis.openapi.from_dict(document), Counter(), []
    with requests.Session() as session:
        for result in schema.get_all_operations():
            operation = result.ok()
            if mode == POSITIVE or _takes_something(operation):
                asker = _asker(address, session, name, found, wrong)
                _drive(operation.as_strategy(generation_mode=mode), each, number, asker)
    return found, wrong


def _takes_something(operation) -> bool:
    return bool(list(operation.iter_parameters())) or bool(operation.body)


def _asker(address, session, name, found, wrong) -> Callable:
    def ask_one(case) -> None:
        try:
            response = case.call(base_url=address, session=session, timeout=60)
        except requests.RequestException as error:
            if not _is_ours(error):
                wrong.append(f"{case.method} {case.formatted_path}: {type(error).__name__}: {error}")
            found[name, "not sent"] += 1
            return
        found[name, response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except Exception as error:
            wrong.append(f"{case.method} {case.formatted_path}: {error}"[:1500])

    return ask_one


def _is_ours(error: requests.RequestException) -> bool:
    """What the client's library refuses to send."""
    return isinstance(error, requests.exceptions.InvalidHeader | requests.exceptions.InvalidURL)


def _drive(strategy, count: int, number: int, ask_one: Callable) -> None:
    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(case=strategy)
    def run(case):
        ask_one(case)

    run()
