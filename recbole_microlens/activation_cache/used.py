"""What a cache was last used by: ``used.json`` beside its rows, for whoever looks at the caches."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from recbole_microlens.activation_cache.in_use import mark_used
from recbole_microlens.activation_cache.store import META
from recbole_microlens.files import written_whole

USED = "used.json"


def remember(folder: Path, used_by: dict) -> None:
    """Write down the model and the settings, and make now the time of the last use; a cache that cannot be
    written to stays as it is.
    """
    mark_used(folder / META)
    if used_by and used_by != recall(folder):
        with suppress(OSError), written_whole(folder / USED) as file:
            json.dump(used_by, file, indent=1)


def recall(folder: Path) -> dict:
    """What was written down, with ``model`` and ``settings``; empty where nothing can be read."""
    try:
        found = json.loads((folder / USED).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    good = isinstance(found, dict) and isinstance(found.get("settings"), dict)
    return found if good else {}
