"""Lines of a log: JSON, in ASCII, without the token."""

import json
import logging
import sys

from recbole_microlens.export.service.json_log import JsonFormatter


def line(message, secret=None, exc_info=None, **fields):
    record = logging.LogRecord("any", logging.WARNING, "file", 1, message, (), exc_info)
    record.fields = fields
    text = JsonFormatter(secret).format(record)
    assert "\n" not in text and text.isascii() and text.isprintable()
    return json.loads(text)


def test_a_line_says_when_how_bad_and_what():
    found = line("request", path="/x", status=200, ms=1.5)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "warning", "message": "request", "path": "/x", "status": 200, "ms": 1.5}


def test_control_characters_stay_in_their_line():
    assert line("a\nb\x1b[31m\u202e\ud800", path="\r\n/x")["path"] == "\r\n/x"


def test_the_token_is_nowhere():
    try:
        raise ValueError("Bearer s3cret")
    except ValueError:
        found = line("it is s3cret", "s3cret", sys.exc_info(), path="/s3cret/s3cret")
    assert "s3cret" not in json.dumps(found) and found["path"] == "/***/***"
    assert "ValueError: Bearer ***" in found["traceback"]


def test_a_long_text_is_cut():
    assert len(line("x" * 100_000)["message"]) < 3000
