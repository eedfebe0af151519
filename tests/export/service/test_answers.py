"""The service answers what the model in Python answers, whatever is asked and however it is cut in parts."""

import numpy as np
import pytest

from recbole_microlens.export.service import answers
from recbole_microlens.export.service.answers import Audience, Neighbours, Question, recommended
from recbole_microlens.quick_start import load

DEFAULTS = {
    "users": None,
    "histories": None,
    "k": 5,
    "filter_viewed": True,
    "items_to_recommend": None,
    "on_unknown": "error",
    "at": "now",
}


@pytest.fixture(scope="module")
def model(run_folder):
    return load(run_folder, device="cpu")


@pytest.fixture(scope="module")
def indexed(run_folder):
    found = load(run_folder, device="cpu")
    found.use_index("exact")
    return found


@pytest.fixture(params=["whole", "in parts"])
def cut(request, monkeypatch):
    if request.param == "in parts":
        monkeypatch.setattr(answers, "_PART", 2)
        monkeypatch.setattr(answers, "_PART_NUMBERS", 40)


def lists(model, **asked):
    question = Question(**DEFAULTS | asked)
    return [entry for part in recommended(model, question) for entry in part]


def expected(model, **asked):
    """The same from the model's DataFrame."""
    question = DEFAULTS | asked
    frame = model.recommend(**question)
    names = question["users"] or range(len(question["histories"]))
    found = []
    for name in names:
        rows = frame[frame.user_id == name]
        items = [
            {
                "item_id": row.item_id,
                "title": model.titles[model.rows_of([row.item_id])[0]],
                "score": None if np.isnan(row.score) else pytest.approx(row.score, rel=1e-5),
                "rank": row.rank,
            }
            for row in rows.itertuples()
        ]
        found.append({"user": name, "items": items})
    return found


def histories(model, count):
    ids = model.item_ids[1:].tolist()
    return [ids[number : number + 3] for number in range(count)]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"k": 1000},
        {"filter_viewed": False},
        {"at": "test"},
        {"on_unknown": "popular"},
        {"on_unknown": "skip", "k": 2},
    ],
)
@pytest.mark.parametrize("kind", ["model", "indexed"])
def test_lists_are_those_of_the_model(asked, kind, cut, request):
    model = request.getfixturevalue(kind)
    users = model.users.user_ids[1:6].tolist()
    assert lists(model, users=users, **asked) == expected(model, users=users, **asked)
    if asked.get("at") != "test":
        given = histories(model, 5)
        assert lists(model, histories=given, **asked) == expected(model, histories=given, **asked)


def test_only_some_items(model, cut):
    allowed = model.item_ids[3:9].tolist()
    users = model.users.user_ids[1:4].tolist()
    found = lists(model, users=users, items_to_recommend=allowed)
    assert found == expected(model, users=users, items_to_recommend=allowed)
    assert {item["item_id"] for entry in found for item in entry["items"]} <= set(allowed)


def test_unknown_users_get_what_is_popular_without_a_score_or_nothing(model, cut):
    users = ["nobody", model.users.user_ids[1], "nobody else"]
    popular = lists(model, users=users, on_unknown="popular", k=3)
    assert popular == expected(model, users=users, on_unknown="popular", k=3)
    assert [item["score"] for item in popular[0]["items"]] == [None] * 3
    skipped = lists(model, users=users, on_unknown="skip", k=3)
    assert [len(entry["items"]) for entry in skipped] == [0, 3, 0]


def test_a_user_who_is_asked_for_twice_is_answered_twice(model, cut):
    user = model.users.user_ids[2]
    for on_unknown in ("error", "skip"):
        first, second = lists(model, users=[user, user], on_unknown=on_unknown)
        assert first == second and len(first["items"]) == 5


def test_neighbours_are_those_of_the_model_before_and_after_an_item_is_added(run_folder, cut):
    from recbole_microlens.export.given_items import NewItem

    model = load(run_folder, device="cpu")
    neighbours = Neighbours(model)

    def compare(items):
        frame = model.similar_items(items, 4)
        found = [entry for part in neighbours.of(items, 4) for entry in part]
        assert [entry["item_id"] for entry in found] == items
        for entry in found:
            rows = frame[frame.item_id == entry["item_id"]]
            assert [item["item_id"] for item in entry["items"]] == rows.similar_item_id.tolist()
            np.testing.assert_allclose([item["score"] for item in entry["items"]], rows.score, rtol=1e-5)

    items = model.item_ids[[1, 7, 3]].tolist()
    compare(items)
    model.add_vectors([NewItem("new", title="New")], model.item_vectors()[[5]] * 3)
    compare([*items, "new"])
    assert next(neighbours.of(["new"], 1))[0]["items"][0]["item_id"] == model.item_ids[5]


def test_an_audience_is_that_of_the_model_in_parts_of_some_users(model, cut):
    items = model.item_ids[[2, 9]].tolist()
    frame = model.audience(items, 6)
    found = Audience(model, items, 6)
    parts = sum(1 for _ in found.parts())
    assert parts > 1
    for entry in found.lists():
        rows = frame[frame.item_id == entry["item_id"]]
        assert [user["user_id"] for user in entry["users"]] == rows.user_id.tolist()
        np.testing.assert_allclose([user["score"] for user in entry["users"]], rows.score, rtol=1e-5)
        assert [user["rank"] for user in entry["users"]] == list(range(1, 7))
