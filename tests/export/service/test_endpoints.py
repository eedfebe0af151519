"""What each endpoint answers, and what it refuses in one sentence."""

import json

import pytest

from recbole_microlens.export.service.limits import MAX_K


@pytest.fixture
def client(shared):
    return shared[1]


@pytest.fixture
def model(shared):
    return shared[0].model


def post(client, path, **body):
    return client.post(path, json=body)


def test_recommendations_of_a_user(client, model):
    answer = post(client, "/recommend", users=["1", "2"], k=3).json()["recommendations"]
    frame = model.recommend(users=["1", "2"], k=3)
    assert [entry["user"] for entry in answer] == ["1", "2"]
    assert [item["item_id"] for item in answer[0]["items"]] == frame[frame.user_id == "1"].item_id.tolist()
    assert answer[0]["items"][0].keys() == {"item_id", "title", "score", "rank"}
    assert answer[0]["items"][0]["title"] and answer[0]["items"][0]["rank"] == 1


def test_recommendations_of_a_history_are_named_by_its_place(client):
    answer = post(client, "/recommend", histories=[["3", "5"], ["1"]], k=2).json()["recommendations"]
    assert [entry["user"] for entry in answer] == [0, 1]
    assert not {item["item_id"] for item in answer[0]["items"]} & {"3", "5"}


def test_the_whole_question_as_the_contract_writes_it(client):
    body = {"users": ["1"], "k": 10, "filter_viewed": True, "items_to_recommend": None}
    assert post(client, "/recommend", **body, on_unknown="error", at="now").status_code == 200


def test_similar_items_and_audiences(client):
    (similar,) = post(client, "/similar", items=["1"], k=4).json()["similar"]
    assert similar["item_id"] == "1" and len(similar["items"]) == 4
    (audience,) = post(client, "/audience", items=["1"], k=4).json()["audience"]
    assert audience["item_id"] == "1"
    assert [user["rank"] for user in audience["users"]] == [1, 2, 3, 4]
    assert audience["users"][0].keys() == {"user_id", "score", "rank"}


def test_an_item(client, model):
    row = model.rows_of(["7"])[0]
    assert client.get("/items/7").json() == {
        "item_id": "7",
        "title": model.titles[row],
        "train_count": int(model.catalogue.train_count[row]),
        "is_new": False,
    }


def test_the_picture_of_an_item(client):
    answer = client.get("/items/7/thumbnail")
    assert answer.headers["content-type"] == "image/jpeg" and answer.content[:2] == b"\xff\xd8"


def test_users(client, model):
    everyone = model.users.user_ids[1:].tolist()
    assert client.get("/users?limit=3").json() == {"users": everyone[:3], "total": len(everyone)}
    assert client.get("/users").json()["users"] == everyone[:20]


def test_a_user_is_shown_as_before_the_test_target(client, model):
    found = client.get("/users/1").json()
    asked = model.asked_by(["1"], at="test")
    assert [item["item_id"] for item in found["history"]] == model.item_ids[asked.seen.items].tolist()
    whole = model.item_ids[model.asked_by(["1"]).seen.items].tolist()
    assert found["next"]["item_id"] == whole[len(found["history"])]
    assert found["next"].keys() == {"item_id", "title"}


def test_the_model_and_health(client):
    index = {"kind": "exact", "recall": 1.0}
    assert client.get("/model").json() == {
        "model": "SASRecV",
        "dataset": "tiny",
        "looks_at": ["video"],
        "can_add_items": True,
        "reason": None,
        "items": 20,
        "users": 24,
        "index": index,
    }
    assert client.get("/health").json() == {"status": "ok", "items": 20, "new_items": 0, "index": index}


def test_metrics(client):
    client.get("/items/7")
    client.get("/items/8")
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert 'recbole_microlens_requests_total{path="/items/{item_id}",status="200"}' in text
    assert 'recbole_microlens_requests_total{path="other",status="404"}' in text
    assert "/items/7" not in text and "nowhere" not in text
    assert 'recbole_microlens_request_seconds_bucket{le="0.05",path="/items/{item_id}"}' in text
    assert "recbole_microlens_items 20.0" in text
    assert "recbole_microlens_decodes_running 0.0" in text


def test_pages_fetch_nothing(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html") and "SASRecV" in page.text
    docs = client.get("/docs")
    assert "POST /recommend" in docs.text and "<script" not in docs.text
    assert "script-src" not in docs.headers["content-security-policy"]
    assert "http://" not in docs.text and "https://" not in docs.text


def test_every_answer_has_a_number_and_is_for_nobody_else(client):
    one, two = client.get("/health"), client.get("/health")
    assert one.headers["x-request-id"] != two.headers["x-request-id"]
    assert one.headers["x-content-type-options"] == "nosniff" and one.headers["cache-control"] == "no-store"
    assert "access-control-allow-origin" not in one.headers


REFUSED = [
    ({"users": ["nobody"]}, 404, "There is no user nobody."),
    ({"users": ["1", "a", "b", "c", "d"]}, 404, "There is no user a, b, c and 1 more."),
    ({"histories": [["nothing"]]}, 404, "There is no item nothing."),
    ({"users": ["1"], "items_to_recommend": ["nothing"]}, 404, "There is no item nothing."),
    ({"histories": [[]]}, 422, "histories: number 0 (from 0 on) is empty"),
    ({}, 422, "The body: give either users or histories."),
    ({"users": ["1"], "histories": [["1"]]}, 422, "The body: give either users or histories."),
    ({"users": ["1"], "K": 3}, 422, "K is not known. Did you mean 'k'?"),
    ({"users": ["1"], "k": 0}, 422, "k: Input should be greater than or equal to 1."),
    ({"users": ["1"], "k": MAX_K + 1}, 422, f"k: Input should be less than or equal to {MAX_K}."),
    ({"users": ["1"], "k": "3"}, 422, "k: give a whole number."),
    ({"users": ["1"], "k": True}, 422, "k: give a whole number."),
    ({"users": ["1"], "k": 2.5}, 422, "k: give a whole number."),
    ({"users": ["1"], "k": 10**40}, 422, "k: Input should be less than or equal to"),
    ({"users": ["1"], "k": None}, 422, "k: give a whole number."),
    ({"users": []}, 422, "users: List should have at least 1 item"),
    ({"users": ["1"] * 101}, 422, "users: List should have at most 100 items"),
    ({"users": "all"}, 422, "users: Input should be a valid list."),
    ({"users": [1]}, 422, "users.0: Input should be a valid string."),
    ({"users": ["x" * 201]}, 422, "users.0: String should have at most 200 characters."),
    ({"users": [""]}, 422, "users.0: String should have at least 1 character."),
    ({"histories": [["1"] * 1001]}, 422, "histories.0: List should have at most 1000 items"),
    ({"users": ["1"], "at": "then"}, 422, "at: Input should be 'now' or 'test'."),
    ({"users": ["1"], "filter_viewed": "yes"}, 422, "filter_viewed: Input should be a valid boolean."),
    ({"users": ["1"] * 11, "k": 1000}, 422, "The body: 11 lists of 1,000 are more than the 10,000 entries"),
    ({"users": ["1\x1b[31m"]}, 404, "There is no user 1\\x1b[31m."),
]


@pytest.mark.parametrize(("body", "status", "message"), REFUSED)
def test_what_is_wrong_is_one_sentence(body, status, message, client):
    answer = client.post("/recommend", json=body)
    assert answer.status_code == status
    assert answer.json().keys() == {"detail"} and answer.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"nonsense", 400),
        (b"\xff\xfe\x00", 400),
        (b"null", 422),
        (b"[]", 422),
        (b'{"users": ["1"], "k": NaN}', 422),
        (b'{"users": ["1"], "k": Infinity}', 422),
        (b'{"users": ["1"], "k": 1e400}', 422),
        (b'{"users": ["1"], "k": ' + b"9" * 5000 + b"}", 400),
        (b'{"users": ["\\ud800"]}', 422),
        (b'{"users": ["1"], "\\ud800": 1}', 422),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400),
        (b'{"users": ["1"], "users": ["2"]}', 200),
        (b'{"users": ["1"], "k": 10.0}', 200),
    ],
)
def test_odd_json_is_refused_or_understood(content, status, client):
    answer = client.post("/recommend", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json().keys() == {"detail"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/recommend", 405),
        ("DELETE", "/items/7", 405),
        ("PUT", "/items", 405),
        ("OPTIONS", "/recommend", 405),
        ("HEAD", "/model", 405),
        ("TRACE", "/", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/model/", 404),
        ("GET", "/items/none", 404),
        ("GET", "/items/none/thumbnail", 404),
        ("GET", "/items/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/users/none", 404),
        ("GET", "/users/" + "x" * 201, 422),
        ("GET", "/users?limit=0", 422),
        ("GET", "/users?limit=1001", 422),
        ("GET", "/users?limit=x", 422),
        ("GET", "/users?limit=NaN", 422),
        ("GET", "/items/%00", 404),
        ("GET", "/items/%ff%fe", 404),
    ],
)
def test_wrong_methods_and_paths(method, path, status, client):
    answer = client.request(method, path)
    assert answer.status_code == status, answer.text
    if method != "HEAD":
        assert answer.json().keys() == {"detail"}


def test_items_are_asked_for_once_each(client):
    for path in ("/similar", "/audience"):
        assert post(client, path, items=["1", "1"]).json() == {"detail": "items: an id is given twice."}
        assert post(client, path, items=["none"]).status_code == 404
        assert post(client, path, items=[]).status_code == 422
        many = [str(number) for number in range(11)]
        assert "entries of one answer" in post(client, path, items=many, k=1000).json()["detail"]


def test_a_body_that_is_too_long_is_refused(client):
    body = json.dumps({"users": ["1"] * 300_000}).encode()
    answer = client.post("/recommend", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and "1,048,576 bytes" in answer.json()["detail"]


def test_where_the_run_lies_is_not_said(client, model):
    for body in ({"users": ["1"], "histories": None}, {"histories": [["1"]], "at": "test"}):
        assert str(model.folder) not in client.post("/recommend", json=body).text
    answer = client.post("/recommend", json={"histories": [["none"]], "on_unknown": "skip"})
    assert answer.status_code == 200


def test_a_score_that_is_no_number_is_null(client, model, monkeypatch):
    scores = model.scores
    monkeypatch.setattr(model, "scores", lambda asked: scores(asked) * float("nan"))
    answer = post(client, "/recommend", users=["1"], k=2)
    assert answer.status_code == 200
    assert {item["score"] for item in answer.json()["recommendations"][0]["items"]} <= {None}
