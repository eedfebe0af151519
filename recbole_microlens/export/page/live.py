"""The page of a running service: the same as the file, for any user, and with new videos to be ranked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from recbole_microlens import __version__
from recbole_microlens.export.page.templating import rendered, script, source_of, style

_SCRIPTS = ("api.js", "cards.js", "upload.js", "live.js")


def live_page(info: Mapping[str, Any]) -> str:
    """A page that asks the service it comes from, by relative addresses, and nobody else.

    Its policy, in the page itself, allows the one script and the one style sheet in it.

    Parameters
    ----------
    info : mapping
        Of the answer to ``GET /model``, ``model`` and ``dataset``, for the title; the page asks for the rest
        itself. ``needs_token``, if true, lets it ask for the token at once; nothing of the model stands in
        the page then, which is given to anybody.

    Returns
    -------
    str
        The whole HTML, equal for equal ``info``.
    """
    needs_token = bool(info.get("needs_token"))
    title = "Ask a model" if needs_token else f"Ask {info['model']} on {info['dataset']}"
    code, sheet = script(*_SCRIPTS), style("page.css", "live.css")
    policy = (
        f"default-src 'none'; script-src {source_of(code)}; style-src {source_of(sheet)}; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    return rendered(
        "live.html",
        title=title,
        needs_token=needs_token,
        policy=Markup(policy),
        style=sheet,
        script=code,
        version=__version__,
    )
