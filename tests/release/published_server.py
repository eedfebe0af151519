"""A real HTTP server on localhost that publishes files, and misbehaves once for each thing it is told."""

import http.server
import threading
from collections import defaultdict, deque
from contextlib import contextmanager
from urllib.parse import unquote


class Published(http.server.ThreadingHTTPServer):
    """Files by path; ``script[path]`` holds what happens to the next requests, ``asked`` what they were."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.tags = {}, {}
        self.script = defaultdict(deque)
        self.always = {}
        self.asked = []

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def publish(self, path, content, tag='"1"'):
        self.files[path], self.tags[path] = content, tag


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_GET(self):
        path = unquote(self.path)
        self.server.asked.append((path, self.headers.get("Range"), self.headers.get("If-Range")))
        script = self.server.script[path]
        behave = script.popleft() if script else self.server.always.get(path, answer)
        try:
            behave(self, path)
        except ConnectionError:  # the client has left
            self.close_connection = True


def answer(handler, path, ranges=True, breaks_after=None, length=None, kind="application/octet-stream"):
    """Answer as a good server; or without ranges, breaking off, or with another length than it has."""
    server = handler.server
    content, tag = server.files.get(path), server.tags.get(path)
    if content is None:
        return status(404)(handler, path)
    start, asked = 0, handler.headers.get("Range")
    same = handler.headers.get("If-Range") in (None, tag)
    if ranges and asked and same:
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        if start >= len(content):
            return _head(handler, 416, 0, [("Content-Range", f"bytes */{len(content)}")])
    headers = [("Content-Type", kind)] + ([("ETag", tag)] if tag else [])
    if start:
        headers.append(("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"))
    _head(handler, 206 if start else 200, length if length is not None else len(content) - start, headers)
    body = content[start:]
    handler.wfile.write(body if breaks_after is None else body[:breaks_after])
    handler.close_connection = breaks_after is not None or length is not None
    return None


def _head(handler, code, length, headers):
    handler.send_response(code)
    for name, value in [*headers, ("Content-Length", str(length))]:
        handler.send_header(name, value)
    handler.end_headers()


def status(code, **headers):
    def behave(handler, path):
        _head(handler, code, 0, [(name.replace("_", "-"), value) for name, value in headers.items()])

    return behave


def redirects(to):
    return status(302, Location=to)


def breaks_after(count, **how):
    return lambda handler, path: answer(handler, path, breaks_after=count, **how)


def answers(**how):
    return lambda handler, path: answer(handler, path, **how)


def without_length(handler, path):
    """HTTP/1.0's way: the end of the connection is the end of the file."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(handler.server.files[path])
    handler.close_connection = True


@contextmanager
def published():
    server = Published()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
