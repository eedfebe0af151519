"""The service's log: one line of JSON for each record, without the token."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback

_MOST = 2000
_HIDDEN = "***"


class JsonFormatter(logging.Formatter):
    """A record as JSON in ASCII, so that control characters are escaped.

    Parameters
    ----------
    secret : str, optional
        Never written, wherever it stands.
    """

    def __init__(self, secret: str | None = None):
        super().__init__()
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        milliseconds = int(record.msecs)
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {"time": f"{when}.{milliseconds:03d}Z", "level": record.levelname.lower()}
        entry["message"] = self._shown(record.getMessage())
        for key, value in getattr(record, "fields", {}).items():
            entry[key] = self._shown(value) if isinstance(value, str) else value
        if record.exc_info:
            entry["traceback"] = self._shown(
                "".join(traceback.format_exception(*record.exc_info)), 20 * _MOST
            )
        return json.dumps(entry)

    def _shown(self, text: str, most: int = _MOST) -> str:
        text = text.replace(self._secret, _HIDDEN) if self._secret else text
        return text if len(text) <= most else text[:most] + "..."


def log_as_json(secret: str | None) -> None:
    """Let everything that this process logs be lines of JSON on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(secret))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of what is refused anyway
    logging.captureWarnings(True)
