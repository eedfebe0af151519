"""Over real sockets: slow, odd and many clients are told why they are sent away; others are answered."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace

import httpx2
import pytest
from export.service.live import live_service

from recbole_microlens.export.service.limits import Limits

LIMITS = replace(
    Limits(),
    connections=8,
    requests=3,
    header_seconds=0.4,
    idle_seconds=0.4,
    upload_bytes=1 << 20,
    shutdown_seconds=1,
)


@pytest.fixture(scope="module")
def live(run_folder, tmp_path_factory):
    """A service on a port of this machine, and the port."""
    with live_service(run_folder, tmp_path_factory.mktemp("live") / "state", LIMITS) as found:
        yield found


@pytest.fixture
def port(live):
    return live[1]


def connected(port):
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def answer_of(connection):
    """Status and detail of an answer, which is the last on its connection."""
    content = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            break
        content += more
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["detail"]


def wait_until(is_so, seconds=20):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said(port, content):
    with connected(port) as connection:
        connection.sendall(content)
        return answer_of(connection)


def test_a_client_that_says_nothing_or_not_all_is_sent_away(port):
    late = (408, "The request did not arrive in time.")
    assert said(port, b"") == late
    assert said(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ") == late
    head = b"POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    assert said(port, head + b"Content-Length: 50\r\n\r\n{") == late


def test_a_client_that_begins_a_second_request_and_stops_is_sent_away(port):
    with connected(port) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        first = b""
        while not first.endswith(b"}}"):
            first += connection.recv(65536)
        connection.sendall(b"GET /he")
        assert answer_of(connection)[0] == 408


def test_a_head_that_never_ends_is_refused(port):
    assert said(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000)[0] == 400


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS",
        b"nonsense\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_as_json(content, port):
    status, detail = said(port, content)
    assert status in (400, 501) and detail == "This is not HTTP."


def test_a_claim_of_ten_gigabytes_is_refused_before_a_byte_is_sent(port):
    head = b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with connected(port) as connection:
        connection.sendall(head + b"Content-Length: 10737418240\r\nExpect: 100-continue\r\n\r\n")
        assert answer_of(connection) == (413, "The request is longer than 1,048,576 bytes.")


def test_an_upload_without_a_length_is_refused_while_it_comes_and_the_client_hears_it(live):
    service, port = live
    head = b"POST /items HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="video"; filename="v.mp4"\r\n\r\n'
    piece = bytes(65536)
    with connected(port) as connection:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        for _ in range(40):  # 2.6 MB of 1 MB
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        assert answer_of(connection)[0] == 413
    wait_until(lambda: not os.listdir(service.uploads))


def test_more_connections_than_there_may_be_are_told_to_come_again(port):
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(port)) for _ in range(LIMITS.connections)]
        assert said(port, b"") == (429, "The service has too many connections.")
        assert len(idle) == LIMITS.connections

    def is_answered():
        with suppress(httpx2.HTTPError):
            return httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200

    wait_until(is_answered)


def test_health_is_answered_while_the_model_computes_and_a_flood_gets_429(live):
    service, port = live
    start, stop = threading.Event(), threading.Event()

    def long_work():
        start.set()
        stop.wait(10)

    service.thread._jobs.put((0.0, -1, Future(), long_work))
    assert start.wait(5)
    url = f"http://127.0.0.1:{port}"
    refusals = 'requests_total{path="/recommend",status="429"} 3.0'

    def ask(_):
        return httpx2.post(f"{url}/recommend", json={"users": ["1"]}, timeout=20)

    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(ask, number) for number in range(6)]
        wait_until(lambda: refusals in httpx2.get(f"{url}/metrics").text)
        assert httpx2.get(f"{url}/health").status_code == 200
        stop.set()
        answers = [future.result() for future in asked]
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * LIMITS.requests + [429] * 3
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1" and "busy with 3 requests" in refused.json()["detail"]


def test_health_and_lists_are_answered_while_an_upload_is_decoded(live, videos):
    service, port = live
    decoders = service.arrivals._encoder._decoders
    with decoders._one() as decoder:
        process = decoder._process
    os.kill(process.pid, signal.SIGSTOP)
    url = f"http://127.0.0.1:{port}"
    with ThreadPoolExecutor(1) as threads:
        form = {"item_id": (None, "slow"), "video": ("v.mp4", videos[0].read_bytes())}
        upload = threads.submit(httpx2.post, f"{url}/items", files=form, timeout=30)
        wait_until(lambda: "decodes_running 1.0" in httpx2.get(f"{url}/metrics").text)
        assert httpx2.get(f"{url}/health").status_code == 200
        assert httpx2.post(f"{url}/recommend", json={"users": ["1"]}).status_code == 200
        assert not upload.done()
        os.kill(process.pid, signal.SIGCONT)
        assert upload.result().status_code == 201


def test_an_audience_does_not_keep_others_waiting(live, monkeypatch):
    service, port = live
    shares = service.model.shares
    parts = []

    def slow(*given, **more):
        time.sleep(0.1)
        parts.append(1)
        return shares(*given, **more)

    monkeypatch.setattr(service.model, "shares", slow)
    url = f"http://127.0.0.1:{port}"
    with ThreadPoolExecutor(1) as threads:
        audience = threads.submit(httpx2.post, f"{url}/audience", json={"items": ["1"]}, timeout=30)
        wait_until(lambda: len(parts) >= 3)
        assert httpx2.post(f"{url}/recommend", json={"users": ["1"]}, timeout=30).status_code == 200
        assert not audience.done()
        assert audience.result().status_code == 200
    assert len(parts) > 10
