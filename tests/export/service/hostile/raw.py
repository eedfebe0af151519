"""Requests that no client library would send: each is bytes, drawn by a generator of random numbers."""

from __future__ import annotations

import json
import random
import socket
from dataclasses import dataclass
from pathlib import Path

PATHS = (
    "/recommend", "/similar", "/audience", "/items", "/items/1", "/items/1/thumbnail", "/users", "/users/1",
    "/model", "/health", "/metrics", "/docs", "/openapi.json", "/",
)  # fmt: skip
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X" * 300)
BODIES = (
    {"users": ["1"], "k": 3},
    {"histories": [["1", "2"], []], "k": 3, "on_unknown": "popular"},
    {"users": ["1"], "items_to_recommend": ["1", "2"], "at": "test", "filter_viewed": False},
    {"items": ["1", "2"], "k": 5},
)
VALUES = (
    "NaN", "Infinity", "-Infinity", "1e999", "9" * 5000, "-1", "0", "1.5", "true", "null", "[]", "{}", '""',
    '"\\u0000"', '"\\ud800"', '"\\u202e"', '"' + "x" * 5000 + '"', "[" * 3000 + "]" * 3000, '{"a":' * 3000,
    '["1","1"]', '[["1"]]', '[null]', '[1e400]',
)  # fmt: skip
KINDS = ("application/json", "text/plain", "application/xml", "multipart/form-data; boundary=x", "", "\xff")
_LINE = "\r\n"


@dataclass(frozen=True)
class RawRequest:
    """What is sent, and whether the client leaves before it is answered."""

    kind: str
    content: bytes
    leaves: bool = False


def drawn(rng: random.Random, video: bytes) -> RawRequest:
    """One request."""
    kind, make = rng.choice(
        (
            ("values", _odd_values),
            ("bytes", _changed_bytes),
            ("head", _odd_head),
            ("form", _odd_form),
            ("video", _changed_video),
            ("nonsense", _nonsense),
        )
    )
    content = make(rng, video)
    leaves = rng.random() < 0.05
    return RawRequest(kind, content[: rng.randrange(len(content) + 1)] if leaves else content, leaves)


def status_of(request: RawRequest, port: int) -> int | str:
    """The status of the first answer; or that the service closed the connection, or the client did."""
    patience = 1.0 if request.kind in ("head", "nonsense") else 60.0  # the service may wait for more of it
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        try:
            connection.sendall(request.content)
            if request.leaves:
                return "left"
            answer = b""
            while b"\r\n" not in answer:
                more = connection.recv(65536)
                if not more:
                    break
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            return "closed"
        except TimeoutError:
            if patience > 1.0:
                raise
            return "left"
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else "closed"


def _request(method: str, path: str, kind: str, body: bytes, *more: str, length: str | None = None) -> bytes:
    said = str(len(body)) if length is None else length
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {kind}",
        f"Content-Length: {said}",
    ]
    return _LINE.join([*head, *more, "", ""]).encode("latin-1") + body


def _odd_values(rng: random.Random, video: bytes) -> bytes:
    body = dict(rng.choice(BODIES))
    text = json.dumps(body | {rng.choice([*body, "more"]): "HERE"}).replace('"HERE"', rng.choice(VALUES))
    return _request("POST", rng.choice(PATHS[:3]), KINDS[0], text.encode())


def _changed_bytes(rng: random.Random, video: bytes) -> bytes:
    body = _changed(rng, json.dumps(rng.choice(BODIES)).encode(), rng.randrange(1, 5))
    return _request("POST", rng.choice(PATHS[:3]), KINDS[0], body)


def _odd_head(rng: random.Random, video: bytes) -> bytes:
    body = json.dumps(rng.choice(BODIES)).encode()
    path = rng.choice(PATHS) + rng.choice(
        (
            "",
            "/",
            "/..",
            "/%00",
            "/%ff",
            "?limit=NaN",
            "?limit=" + "9" * 400,
            "?" + "x" * 9000,
            "%2e%2e",
            "//",
            "/\x7f",
        )
    )
    length = rng.choice((None, None, None, "-1", "0", "1e3", "99999999999999999999", str(len(body) + 5), ""))
    more = rng.choice(
        (
            [],
            ["Transfer-Encoding: chunked"],
            ["Host: evil.example"],
            ["Origin: http://evil.example"],
            ["Expect: 100-continue"],
            ["Upgrade: websocket", "Connection: Upgrade"],
            ["X: " + "y" * 20_000],
            ["Z: 1"] * 500,
            ["Authorization: Bearer \x00"],
            ["Cookie: \xff\xfe"],
            ["Range: bytes=0-1"],
            ["Content-Encoding: gzip"],
        )
    )
    return _request(rng.choice(METHODS), path, rng.choice(KINDS), body, *more, length=length)


def _form(*parts: tuple[str, bytes, str]) -> bytes:
    found = b""
    for name, content, filename in parts:
        named = f'; filename="{filename}"' if filename else ""
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        found += head.encode("utf-8", "surrogateescape") + content + b"\r\n"
    return found + b"--x--\r\n"


def _odd_form(rng: random.Random, video: bytes) -> bytes:
    names = ("item_id", "title", "cold", "video", "cover", "other", "", 'q"uote', "x" * 5000)
    values = (
        b"",
        b"1",
        b"new",
        b"\x00",
        b"\xff",
        b"content",
        b"x" * 9000,
        b"../../x",
        b"--x",
        b"\r\n--x--\r\n",
    )
    parts = [
        (rng.choice(names), rng.choice(values), rng.choice(("", "", "a.mp4", "../../a", "a\x00b")))
        for _ in range(rng.randrange(6))
    ]
    body = _form(*parts)
    body = _changed(rng, body, 3) if rng.random() < 0.5 else body
    return _request("POST", "/items", "multipart/form-data; boundary=x", body)


def _changed_video(rng: random.Random, video: bytes) -> bytes:
    content = (
        _changed(rng, video, rng.choice((1, 20, 500)))
        if rng.random() < 0.7
        else video[: rng.randrange(len(video))]
    )
    parts = [("item_id", f"v{rng.getrandbits(60)}".encode(), ""), ("video", content, "v.mp4")]
    return _request("POST", "/items", "multipart/form-data; boundary=x", _form(*parts))


def _nonsense(rng: random.Random, video: bytes) -> bytes:
    whole = _request("POST", "/recommend", KINDS[0], json.dumps(BODIES[0]).encode())
    return _changed(rng, whole, 8) if rng.random() < 0.5 else rng.randbytes(rng.randrange(1, 3000))


def _changed(rng: random.Random, content: bytes, times: int) -> bytes:
    changed = bytearray(content)
    for _ in range(times):
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(3):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[place : place + rng.randrange(20)]
            case 2:
                changed[place:place] = changed[place : place + rng.randrange(20)]
    return bytes(changed)


def video_of(folder: Path) -> bytes:
    """A small real video of a release."""
    return min(folder.glob("*_videos/*.mp4"), key=lambda path: path.stat().st_size).read_bytes()
