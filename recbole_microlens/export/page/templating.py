"""HTML from templates in which every text is escaped, with a policy that lets nothing be fetched."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recbole_microlens.errors import printable

_FOLDER = Path(__file__).parent
LONGEST_NAME = 80


def rendered(template: str, **values: object) -> str:
    """A template of this folder with some values, each as text unless it is ``Markup``."""
    return _environment().get_template(template).render(**values)


def style(*names: str, more: str = "") -> Markup:
    """Style sheets of this folder, and more of our own making, in one element."""
    return Markup(f"<style>{_sources(names)}{more}</style>")


def script(*names: str) -> Markup:
    """Scripts of this folder in one element, inside a function of their own."""
    return Markup(f'<script>(() => {{\n"use strict";\n{_sources(names)}}})();</script>')


def source_of(element: Markup) -> str:
    """The source by which a policy allows an element of style or script, and no other."""
    inside = element[element.index(">") + 1 : element.rindex("</")]
    digest = base64.b64encode(hashlib.sha256(str(inside).encode()).digest()).decode()
    return f"'sha256-{digest}'"


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """A text of at most so many characters, with an ellipsis where some are left out."""
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shortened"] = shortened
    environment.filters["number"] = lambda value: f"{value:.4g}"
    return environment


def _shown(value: object) -> object:
    """What a browser may show: controls, and marks that turn the direction of text, are spelled out."""
    return value if isinstance(value, Markup) else printable(value, lines=True)


def _sources(names: tuple[str, ...]) -> str:
    return "".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
