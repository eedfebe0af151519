"""ASGI without a server: a request in pieces, and what was answered."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field


@dataclass
class Answer:
    messages: list = field(default_factory=list)

    @property
    def status(self):
        return self.messages[0]["status"]

    @property
    def headers(self):
        return {name.decode().lower(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.messages[1:])

    @property
    def detail(self):
        return json.loads(self.body)["detail"]


def scope_of(method="GET", path="/", headers=()):
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b""}


def pieces(*bodies, then_wait=False):
    """``receive`` of a body in pieces; afterwards nothing comes, or a client that has gone."""
    waiting = list(bodies)

    async def receive():
        if waiting:
            body = waiting.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(waiting) or then_wait}
        if then_wait:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    return receive


async def asked(app, scope, receive=None):
    answer = Answer()

    async def send(message):
        answer.messages.append(message)

    await app(scope, receive or pieces(b""), send)
    return answer


async def echo(scope, receive, send):
    """Answers with the length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


def in_own_loop(coroutine):
    """The result of a coroutine, run in a thread: a browser of other tests keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
