"""Questions that wait together are computed together, and each has its own answer."""

import asyncio
import threading

import pytest
from export.service.asgi import in_own_loop

from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.service import gathering
from recbole_microlens.export.service.answers import Question, lists_of
from recbole_microlens.export.service.gathering import Gathering
from recbole_microlens.export.service.model_thread import ModelThread
from recbole_microlens.quick_start import load


@pytest.fixture(scope="module")
def model(run_folder):
    return load(run_folder, device="cpu")


@pytest.fixture
def thread():
    found = ModelThread()
    found.start()
    yield found
    found.stop()


def question(users=None, histories=None, k=5, filter_viewed=True, items=None, on_unknown="error", at="now"):
    return Question(users, histories, k, filter_viewed, items, on_unknown, at)


def together(model, thread, questions, monkeypatch):
    """The answers to questions that come while the model is busy, and how often it was asked."""
    calls = []
    scores = model.scores
    monkeypatch.setattr(model, "scores", lambda asked: (calls.append(len(asked)), scores(asked))[1])

    async def run():
        busy, found = threading.Event(), Gathering(model, thread)
        first = asyncio.create_task(thread.do(busy.wait))
        asked = [asyncio.create_task(found.ask(one)) for one in questions]
        await asyncio.sleep(0.05)
        busy.set()
        await first
        return await asyncio.gather(*asked, return_exceptions=True)

    return in_own_loop(run()), calls


def test_each_has_its_own_answer_and_the_model_is_asked_once_for_all_alike(model, thread, monkeypatch):
    users, items = model.users.user_ids[1:].tolist(), model.item_ids[1:].tolist()
    questions = [question([user]) for user in users[:5]]
    questions += [question(histories=[items[n : n + 2]]) for n in range(3)]
    questions += [question([users[0]], k=3), question([users[0]]), question([users[1]], filter_viewed=False)]
    questions += [question([users[2]], at="test"), question([users[3]], items=items[:4])]
    expected = [lists_of(model, one)[0] for one in questions]
    answers, calls = together(model, thread, questions, monkeypatch)
    for answer, wanted in zip(answers, expected, strict=True):
        assert [item["item_id"] for item in answer] == [item["item_id"] for item in wanted]
        assert [item["score"] for item in answer] == pytest.approx(
            [item["score"] for item in wanted], rel=1e-4
        )
    assert sorted(calls) == [1, 1, 1, 1, 3, 6]


def test_one_that_cannot_be_answered_does_not_spoil_the_others(model, thread, monkeypatch):
    users = model.users.user_ids[1:4].tolist()
    questions = [question([users[0]]), question(["nobody"]), question([users[1]])]
    answers, _ = together(model, thread, questions, monkeypatch)
    assert len(answers[0]) == len(answers[2]) == 5
    assert isinstance(answers[1], MicroLensError) and "nobody" in str(answers[1])


def test_no_more_are_computed_together_than_fit(model, thread, monkeypatch):
    monkeypatch.setattr(gathering, "_MOST", 4)
    questions = [question([user]) for user in model.users.user_ids[1:11].tolist()]
    answers, calls = together(model, thread, questions, monkeypatch)
    assert all(len(answer) == 5 for answer in answers) and calls == [4, 4, 2]


def test_a_request_that_was_given_up_is_not_computed(model, thread, monkeypatch):
    calls = []
    scores = model.scores
    monkeypatch.setattr(model, "scores", lambda asked: (calls.append(len(asked)), scores(asked))[1])
    monkeypatch.setattr(gathering, "_MOST", 1)

    async def run():
        busy, found = threading.Event(), Gathering(model, thread)
        first = asyncio.create_task(thread.do(busy.wait))
        users = model.users.user_ids[1:4].tolist()
        asked = [asyncio.create_task(found.ask(question([user]))) for user in users]
        await asyncio.sleep(0.02)
        asked[0].cancel()
        await asyncio.sleep(0.02)
        busy.set()
        await first
        return await asyncio.gather(*asked[1:])

    assert [len(answer) for answer in in_own_loop(run())] == [5, 5]
    assert calls == [1, 1]
