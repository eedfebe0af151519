"""Parts of a page that stands by itself: tables and pictures as HTML, every text escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from recbole_microlens.errors import printable
from recbole_microlens.evaluation.text_table import Column
from recbole_microlens.plots.style import rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Nothing is fetched, whatever stands in the page: no script, no font, no picture from elsewhere.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = Path(__file__).with_name("page.css")


def text(value: object) -> str:
    """A text of data as HTML may show it."""
    return escape(printable(value, lines=True))


def table(caption: str, columns: list[Column]) -> str:
    """A table in a box that scrolls by itself where the screen is narrow; the first column of text, or of
    all, names the rows.
    """
    names = next((place for place, column in enumerate(columns) if column.is_text), 0)
    head = "".join(f'<th scope="col"{_of_text(c)}>{text(c.header)}</th>' for c in columns)
    rows = "\n".join(
        f"<tr>{''.join(_cell(columns[place], cell, place == names) for place, cell in enumerate(row))}</tr>"
        for row in zip(*(column.cells for column in columns), strict=True)
    )
    return (
        f'<div class="scroll" role="region" aria-label="{text(caption)}" tabindex="0">\n'
        f"<table>\n<caption>{text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )


def picture(figure: Figure, name: str, caption: str) -> str:
    """A figure as SVG inside the page.

    Parameters
    ----------
    name : str
        A word that no other picture of the page has: ids inside the picture begin with it.
    """
    svg = rendered(figure, "svg").decode()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{text(caption)}"', 1)
    return f"<figure>\n{svg.strip()}\n<figcaption>{text(caption)}</figcaption>\n</figure>"


def whole(title: str, introduction: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page.

    Parameters
    ----------
    title, introduction : str
        Plain text.
    sections : Iterable[tuple[str, str]]
        Plain headings, and HTML.
    """
    numbered = list(enumerate(sections, 1))
    links = "".join(f'<li><a href="#s{place}">{text(heading)}</a></li>' for place, (heading, _) in numbered)
    bodies = "\n".join(
        f'<section aria-labelledby="s{place}">\n<h2 id="s{place}">{text(heading)}</h2>\n{body}\n</section>'
        for place, (heading, body) in numbered
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{text(title)}</title>
<style>
{_STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<h1>{text(title)}</h1>
<p class="dim">{text(introduction)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{bodies}
</main>
</body>
</html>
"""


def _of_text(column: Column) -> str:
    return ' class="text"' if column.is_text else ""


def _cell(column: Column, cell: str, names_the_row: bool) -> str:
    if names_the_row:
        return f'<th scope="row"{_of_text(column)}>{text(cell)}</th>'
    return f"<td{_of_text(column)}>{text(cell)}</td>"
