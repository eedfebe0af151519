"""The endpoints on one page, from OpenAPI, without a script and without anything that is fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment

_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
pre { overflow-x: auto; background: color-mix(in srgb, currentColor 8%, transparent); padding: .75rem; }
h2 { font: 600 1rem ui-monospace, monospace; margin: 2rem 0 .25rem; }
summary { cursor: pointer; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p>{{ description }} The same for programs: <a href="openapi.json">openapi.json</a>.</p>
{% for endpoint in endpoints %}
<section>
<h2>{{ endpoint.name }}</h2>
<p>{{ endpoint.text }}</p>
{% for part in endpoint.parts %}
<details><summary>{{ part.name }}</summary><pre>{{ part.schema }}</pre></details>
{% endfor %}
</section>
{% endfor %}
</body>
</html>
"""


def docs_page(openapi: Mapping[str, Any]) -> str:
    """The page.

    Parameters
    ----------
    openapi : mapping
        Of the application.
    """
    endpoints = [
        _endpoint(f"{method.upper()} {path}", operation, openapi)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]
    about = openapi["info"]
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    return template.render(title=about["title"], description=about["description"], endpoints=endpoints)


def _endpoint(name: str, operation: Mapping[str, Any], openapi: Mapping[str, Any]) -> dict[str, Any]:
    parts = []
    if "parameters" in operation:
        parts.append({"name": "Parameters", "schema": _pretty(operation["parameters"], openapi)})
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append({"name": f"Body, {kind}", "schema": _pretty(content["schema"], openapi)})
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            named = f"{status}: {response['description']}"
            parts.append({"name": named, "schema": _pretty(content.get("schema", {}), openapi)})
    return {"name": name, "text": operation.get("description", ""), "parts": parts}


def _pretty(schema: Any, openapi: Mapping[str, Any]) -> str:
    return json.dumps(_resolved(schema, openapi), indent=2)


def _resolved(schema: Any, openapi: Mapping[str, Any]) -> Any:
    """With what is referred to in its place; no schema of this service refers to itself."""
    if isinstance(schema, list):
        return [_resolved(part, openapi) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(openapi["components"]["schemas"][schema["$ref"].rpartition("/")[2]], openapi)
    return {key: _resolved(value, openapi) for key, value in schema.items()}
