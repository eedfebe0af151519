"""A service that keeps to the contract of the real one as far as the live page asks it, and no further."""

import json
import math
import tempfile
import threading
import time
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.page.contents import Contents
from recbole_microlens.export.page.live import live_page
from recbole_microlens.export.page.thumbnails import Thumbnails


class Answers:
    """What the contract says of each path; ``KeyError`` is 404, ``MicroLensError`` 422."""

    def __init__(self, model):
        self.model = model
        self.contents = Contents(model, 10)
        self.thumbnails = Thumbnails(model)
        self.lock = threading.Lock()

    def about(self):
        return {
            "model": self.model.config["model"],
            "dataset": self.model.config["dataset"],
            "looks_at": list(self.model.encoder.modalities),
            "can_add_items": True,
            "reason": None,
            "items": len(self.model.item_ids) - 1,
            "users": 0 if self.model.users is None else len(self.model.users.user_ids) - 1,
        }

    def item(self, item_id):
        row = self._row(item_id)
        item = self.contents.item(row)
        return {
            "item_id": item_id,
            "title": item.title,
            "train_count": item.train_count or 0,
            "is_new": item.train_count is None,
        }

    def thumbnail(self, item_id):
        jpeg = self.thumbnails.of(item_id)
        if jpeg is None:
            raise KeyError(f"{item_id} has no picture.")
        return jpeg

    def users(self):
        ids = self.model.users.user_ids[1:].tolist()
        return {"users": ids[:20], "total": len(ids)}

    def user(self, user_id):
        if user_id not in self.model.users.row_of:
            raise KeyError(f"{user_id}: no such user.")
        asked = self.model.asked_by([user_id], at="test")
        target = self.contents._target(user_id)
        history = [self._named(row) for row in asked.seen.items.tolist()]
        return {"user_id": user_id, "history": history, "next": target and self._named(target)}

    def recommend(self, body):
        key = "users" if "users" in body else "histories"
        frame = self.model.recommend(**{key: body[key]}, k=body["k"], at=body["at"])
        return {
            "recommendations": [
                {"user": user, "items": self._listed(rows, "item_id")}
                for user, rows in frame.groupby("user_id", sort=False)
            ]
        }

    def similar(self, body):
        frame = self.model.similar_items(body["items"], body["k"])
        lists = frame.groupby("item_id", sort=False)
        return {
            "similar": [
                {"item_id": item, "items": self._listed(rows, "similar_item_id")} for item, rows in lists
            ]
        }

    def audience(self, body):
        frame = self.model.audience(body["items"], body["k"])
        return {
            "audience": [
                {"item_id": item, "users": rows[["user_id", "score", "rank"]].to_dict("records")}
                for item, rows in frame.groupby("item_id", sort=False)
            ]
        }

    def add(self, fields, files):
        started = time.monotonic()
        content = {"title": fields.get("title")} | files
        with self.lock:
            self.model.add_items({fields["item_id"]: content}, fields.get("cold"))
        (item,) = self._given(fields["item_id"], files)
        self.thumbnails.add([item])
        seconds = time.monotonic() - started
        return {"item_id": fields["item_id"], "items": len(self.model.item_ids) - 1, "seconds": seconds}

    def _given(self, item_id, files):
        from recbole_microlens.export.given_items import NewItem

        yield NewItem(item_id, **{name: Path(path) for name, path in files.items()})

    def _row(self, item_id):
        try:
            return self.model.rows_of([item_id])[0]
        except MicroLensError as error:
            raise KeyError(str(error)) from error

    def _named(self, row):
        return {"item_id": str(self.model.item_ids[row]), "title": str(self.model.titles[row])}

    def _listed(self, rows, column):
        return [
            self._named(self._row(item))
            | {"score": None if math.isnan(score) else float(score), "rank": int(rank)}
            for item, score, rank in zip(rows[column], rows["score"], rows["rank"], strict=True)
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        answers, parts = (
            self.server.answers,
            [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]],
        )
        if parts == [""]:
            info = answers.about() | {"needs_token": bool(self.server.token)}
            return self._send(200, live_page(info).encode(), "text/html; charset=utf-8")
        match parts:
            case ["model"]:
                self._answer(answers.about)
            case ["users"]:
                self._answer(answers.users)
            case ["users", user]:
                self._answer(lambda: answers.user(user))
            case ["items", item]:
                self._answer(lambda: answers.item(item))
            case ["items", item, "thumbnail"]:
                self._answer(lambda: answers.thumbnail(item))
            case _:
                self._answer(lambda: {}[self.path])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answers = self.server.answers
        if self.path == "/items":
            with tempfile.TemporaryDirectory() as folder:
                self._answer(lambda: answers.add(*self._form(body, Path(folder))), 201)
        else:
            self._answer(lambda: getattr(answers, self.path[1:])(json.loads(body)))

    def _form(self, body, folder):
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields, files = {}, {}
        for part in message_from_bytes(head + body, policy=HTTP).iter_parts():
            name, file = part.get_param("name", header="content-disposition"), part.get_filename()
            content = part.get_payload(decode=True)
            if file is None:
                fields[name] = content.decode()
            else:
                files[name] = str(folder / f"{name}{Path(file).suffix}")
                Path(files[name]).write_bytes(content)
        return fields, files

    def _answer(self, work, status=200):
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            return self._refuse(401, "Give the token of this service.")
        try:
            found = work()
        except KeyError as error:
            return self._refuse(404, error.args[0])
        except MicroLensError as error:
            return self._refuse(422, str(error))
        if isinstance(found, bytes):
            return self._send(200, found, "image/jpeg")
        self._send(status, json.dumps(found).encode(), "application/json")

    def _refuse(self, status, sentence):
        self._send(status, json.dumps({"detail": sentence}).encode(), "application/json")

    def _send(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served(model, token=""):
    """The address of a stand-in that answers for a model while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.answers, server.token = Answers(model), token
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
