"""A request takes no more bytes, time or places than it may, and is told why."""

import asyncio
from dataclasses import replace

import pytest
from export.service.asgi import asked, echo, in_own_loop, pieces, scope_of
from starlette.requests import ClientDisconnect

from recbole_microlens.export.service.admission import Admission, Body
from recbole_microlens.export.service.limits import Limits
from recbole_microlens.export.service.problems import Refused

LIMITS = replace(
    Limits(),
    body_bytes=10,
    upload_bytes=30,
    requests=2,
    uploads=1,
    audiences=1,
    idle_seconds=0.05,
    answer_seconds=0.2,
    upload_seconds=0.2,
)


def through_body(method="POST", path="/recommend", headers=(), receive=None, app=echo):
    return in_own_loop(asked(Body(app, LIMITS), scope_of(method, path, headers), receive))


@pytest.mark.parametrize(("path", "most"), [("/recommend", 10), ("/items", 30)])
def test_a_body_is_taken_up_to_its_limit_and_refused_with_the_next_byte(path, most):
    chunked = [("Transfer-Encoding", "chunked")]
    answer = through_body(path=path, headers=chunked, receive=pieces(*[b"x"] * most))
    assert answer.body == str(most).encode()
    answer = through_body(path=path, headers=chunked, receive=pieces(*[b"x"] * (most + 2)))
    assert answer.status == 413 and answer.detail == f"The request is longer than {most} bytes."
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("length", ["11", "10737418240", "9" * 400, "-1", "1_0", "x", "٣"])
def test_a_length_that_is_too_long_or_none_is_refused_before_anything_is_read(length):
    async def never():
        raise AssertionError("it was read")

    scope = scope_of("POST", "/recommend")
    scope["headers"] = [(b"content-length", length.encode("utf-8"))]

    async def ask():
        body, answer = Body(echo, LIMITS), []

        async def send(message):
            answer.append(message)

        async def receive():
            return {"type": "http.disconnect"} if answer else await never()

        await body(scope, receive, send)
        return answer

    assert in_own_loop(ask())[0]["status"] == 413


def test_a_client_that_stops_in_the_middle_is_given_up():
    answer = through_body(headers=[("Content-Length", "9")], receive=pieces(b"x", then_wait=True))
    assert answer.status == 408 and answer.headers["connection"] == "close"


def test_a_client_that_sends_byte_by_byte_is_given_up_too():
    async def receive():
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b"", "more_body": True}

    assert through_body(path="/items", headers=[("Content-Length", "9")], receive=receive).status == 408


def test_the_rest_of_a_refused_body_is_read_before_the_answer_ends():
    """Or the system would drop the answer with the connection."""
    taken = []
    left = pieces(*[b"x" * 5] * 6)

    async def receive():
        message = await left()
        taken.append(message)
        return message

    answer = through_body(headers=[("Transfer-Encoding", "chunked")], receive=receive)
    assert answer.status == 413 and len(taken) == 6
    assert [message.get("more_body", False) for message in answer.messages[1:]] == [True, False]
    assert answer.headers["content-length"] == str(len(answer.body))


def test_a_client_that_does_not_read_its_answer_is_given_up():
    async def stuck(message):
        await asyncio.Event().wait()

    async def ask():
        await Body(echo, LIMITS)(scope_of("GET", "/model"), pieces(b""), stuck)

    with pytest.raises(ClientDisconnect):
        in_own_loop(ask())


def test_a_refusal_by_the_application_is_one_sentence_of_json():
    async def refusing(scope, receive, send):
        raise Refused(429, "Full.\x1b[31m", {"Retry-After": "3"})

    answer = through_body("GET", "/model", app=refusing)
    assert (answer.status, answer.detail, answer.headers["retry-after"]) == (429, "Full.\\x1b[31m", "3")
    assert "connection" not in answer.headers


def at_once(paths, method="POST"):
    """Statuses of requests that come while all before them are being answered."""

    async def run():
        open_now = asyncio.Event()

        async def slow(scope, receive, send):
            await open_now.wait()
            await echo(scope, receive, send)

        body = Body(Admission(slow, LIMITS), LIMITS)
        tasks = [asyncio.create_task(asked(body, scope_of(method, path))) for path in paths]
        await asyncio.sleep(0.02)
        open_now.set()
        first = [answer.status for answer in await asyncio.gather(*tasks)]
        again = await asked(body, scope_of(method, paths[0]))
        return first, again.status

    return in_own_loop(run())


def test_a_flood_is_refused_at_once_and_the_service_is_free_afterwards():
    assert at_once(["/recommend"] * 5) == ([200, 200, 429, 429, 429], 200)
    assert at_once(["/items"] * 3) == ([200, 429, 429], 200)
    assert at_once(["/audience"] * 2) == ([200, 429], 200)


def test_what_is_of_another_kind_has_its_own_places():
    statuses, _ = at_once(["/items", "/audience", "/recommend", "/similar", "/health", "/metrics"])
    assert statuses == [200] * 6


def test_health_is_answered_however_full_it_is():
    assert at_once(["/model"] * 4 + ["/health"] * 3, "GET")[0] == [200, 200, 429, 429, 200, 200, 200]


def test_an_answer_that_takes_too_long_is_given_up_but_an_upload_is_not():
    ended = []

    async def slow(scope, receive, send):
        try:
            await asyncio.sleep(0.4)
        finally:
            ended.append(scope["path"])
        await echo(scope, receive, send)

    async def ask(path):
        body = Body(Admission(slow, LIMITS), LIMITS)
        return await asked(body, scope_of("POST", path))

    answer = in_own_loop(ask("/recommend"))
    assert answer.status == 503 and "Ask for less" in answer.detail and ended == ["/recommend"]
    assert in_own_loop(ask("/items")).status == 200
