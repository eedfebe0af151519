"""The page of a service: what it shows is what the service says, and a real clip is ranked by it."""

import dataclasses
import re

import numpy as np
import pytest
from looks import check_looks
from outline import Outline
from stand_in import Answers, served
from test_static import EVIL, LONG, REVERSED, UNBROKEN

from recbole_microlens.export.page import live_page
from recbole_microlens.export.page.contents import Contents

INFO = {"model": "SASRecV", "dataset": "tiny", "needs_token": False}
ANSWERED = "#answer .card"


def test_the_policy_allows_the_one_script_and_the_one_style_sheet():
    found = Outline(live_page(INFO))
    assert found.policy() == {
        "default-src": ["'none'"],
        "script-src": [found.hash_of("script")],
        "style-src": [found.hash_of("style")],
        "img-src": ["'self'", "data:", "blob:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert all(each.startswith(("#", "data:")) or each == "docs" for each in found.fetched)
    assert not re.search(r"https?://|innerHTML|eval\(|localStorage|sessionStorage|cookie", found.page)


def test_a_page_that_wants_a_token_says_nothing_of_the_model():
    page = live_page(INFO | {"needs_token": True})
    assert "SASRecV" not in page and "tiny" not in page
    assert "Ask SASRecV on tiny" in live_page(INFO)


def test_the_name_of_a_dataset_is_text():
    page = live_page(INFO | {"dataset": EVIL})
    assert page.count("<script") == 1 and "&lt;script&gt;alert" in page


@pytest.fixture
def service(model, request, tmp_path):
    """The address of a stand-in, or of the real service, which answers for the model."""
    if getattr(request, "param", "stand-in") == "stand-in":
        with served(model) as address:
            yield address
    else:
        real = pytest.importorskip("real_service", exc_type=ImportError)
        with real.served(model, tmp_path / "state") as address:
            yield address


of_both = pytest.mark.parametrize("service", ["stand-in", "real"], indirect=True)


def names(page, where):
    return page.locator(f"{where} .name").all_inner_texts()


def until(page, expression, argument=None):
    """Wait until an expression is true; the page's policy forbids playwright's own way of asking again."""
    for _ in range(600):
        if page.evaluate(expression, argument):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never true: {expression}")


def asked(page, user):
    """The page once it shows a user."""
    page.wait_for_selector(ANSWERED)
    page.fill("#user", user)
    page.click("#user-form button[type=submit]")
    until(page, "user => document.querySelector('#answer h3').textContent === `User ${user}`", user)


def settled(page):
    """The page once every card has its picture and its count."""
    until(
        page,
        "!document.querySelector('.card .picture.none') && "
        "[...document.querySelectorAll('.card .facts')].every(e => e.textContent)",
    )


@of_both
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_user_is_shown_as_the_model_answers(service, opened, model, width, scheme):
    page = opened(service, width, scheme)
    asked(page, "5")
    settled(page)
    (user,) = Contents(model, 10).users(["5"])
    history, listed = (page.locator("#answer .cards").nth(place) for place in (0, 1))
    assert history.locator(".name").all_inner_texts() == [each.name for each in [*user.history, user.next]]
    assert listed.locator(".name").all_inner_texts() == [place.item.name for place in user.places]
    scores = listed.locator("data").evaluate_all("all => all.map(each => Number(each.value))")
    assert scores == [place.score for place in user.places]
    assert listed.locator(".rank").all_inner_texts() == [f"Rank\n{place.rank}" for place in user.places]
    counts = listed.locator(".facts").all_inner_texts()
    for text, place in zip(counts, user.places, strict=True):
        assert text.endswith(f"watched {place.item.train_count}×")
    marked = names(page, "#answer .is-next")
    assert marked == [user.next.name] * (1 + (user.next_rank <= 10))
    assert page.locator(".verdict").inner_text() == f"watched next: rank {user.next_rank}"
    assert page.said == [] and {each.split("/")[2] for each in page.requests if each[:4] == "http"} == {
        service.split("/")[2]
    }
    check_looks(page, width)


def test_with_nothing_held_back_the_list_is_that_of_now(service, opened, model):
    page = opened(service)
    page.wait_for_selector(ANSWERED)
    page.uncheck("#held-back")
    page.fill("#count", "4")
    asked(page, "5")
    until(page, "document.querySelectorAll('#answer .cards')[1].children.length === 4")
    expected = model.recommend(["5"], k=4)
    titles = [Contents(model, 4).item(row).name for row in model.rows_of(expected["item_id"].tolist())]
    assert page.locator("#answer .cards").nth(1).locator(".name").all_inner_texts() == titles
    assert page.locator("#answer .is-next").count() == 0


def test_a_history_of_ones_own_is_answered(service, opened, model):
    page = opened(service)
    page.wait_for_selector(ANSWERED)
    page.click("summary")
    page.fill("#history", "3, 7")
    page.press("#history", "Enter")
    until(page, "document.querySelector('#answer h3').textContent.startsWith('Somebody')")
    expected = model.recommend(histories=[["3", "7"]], k=10)
    rows = model.rows_of(["3", "7", *expected["item_id"]])
    assert names(page, "#answer") == [Contents(model, 10).item(row).name for row in rows]


@of_both
def test_a_real_clip_is_ranked_and_shown_where_it_lands(service, opened, model, clip):
    page = opened(service, 390)
    asked(page, "5")
    page.set_input_files("#video-file", clip)
    assert page.input_value("#new-id") == "clip"
    page.fill("#new-title", "My own <b>clip</b>")
    page.click("#upload-button")
    page.wait_for_selector("#landed .landings")
    settled(page)
    assert re.fullmatch(r"My own <b>clip</b> is ranked among 21 videos now, [\d.]+ s after the upload\.",
                        page.inner_text("#upload-said"))  # fmt: skip
    similar = model.similar_items(["clip"], 8)["similar_item_id"].tolist()
    assert names(page, "#landed .cards") == [
        Contents(model, 8).item(row).name for row in model.rows_of(similar)
    ]
    audience = model.audience(["clip"], 10)["user_id"]
    assert page.locator("#landed .pill").all_inner_texts() == [f"User {user}" for user in audience]
    lists = model.recommend(["5"], k=100, at="test").set_index("item_id")
    score = lists["score"]["clip"]
    user, rank, shown = re.findall(r"[\d.-]+", page.locator("#landed .landings li").first.inner_text())
    # It is a copy of another video, so that either of two ranks is its own.
    assert int(rank) in lists["rank"][np.isclose(lists["score"], score)].tolist()
    assert (user, shown) == ("5", f"{score:.4g}")
    assert page.get_attribute("#upload-said", "role") == "status" and page.said == []
    check_looks(page, 390)


@of_both
def test_a_file_that_is_no_video_is_refused_in_words_and_another_one_is_taken(service, opened, clip):
    page = opened(service)
    page.wait_for_selector(ANSWERED)
    broken = clip.with_name("broken.mp4")
    broken.write_bytes(b"no video at all")
    page.set_input_files("#video-file", broken)
    page.click("#upload-button")
    page.wait_for_selector("#upload-said.wrong")
    assert "not a video" in page.inner_text("#upload-said")
    page.set_input_files("#video-file", clip)
    assert page.input_value("#new-id") == "clip"
    page.click("#upload-button")
    page.wait_for_selector("#landed .landings")
    assert page.locator("#upload-said.wrong").count() == 0


def test_the_keyboard_is_enough(service, opened, model):
    page = opened(service)
    page.wait_for_selector(ANSWERED)
    page.focus("#user")
    page.keyboard.press("Control+a")
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#answer h3').textContent === 'User 5'")
    page.focus("#answer .card:last-child .open")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert page.evaluate(outline) == "solid"
    (name,) = {page.evaluate("document.activeElement.querySelector('.name').textContent")}
    page.keyboard.press("Enter")
    page.wait_for_selector("#video .pill")
    assert page.inner_text("#video-name") == name
    assert page.evaluate("document.querySelector('#video').contains(document.activeElement)")
    page.keyboard.press("Escape")
    until(page, "!document.querySelector('#video').open")
    assert page.evaluate("document.activeElement.querySelector('.name').textContent") == name


def test_a_click_shows_neighbours_and_a_user_of_the_audience_is_shown_next(service, opened, model):
    page = opened(service, 390)
    asked(page, "5")
    page.locator("#answer .open").last.click()
    page.wait_for_selector("#video .pill")
    item = model.recommend(["5"], k=10, at="test")["item_id"].iloc[-1]
    similar = model.similar_items([item], 8)
    assert names(page, "#video .cards") == [
        Contents(model, 8).item(row).name for row in model.rows_of(similar["similar_item_id"].tolist())
    ]
    user = page.locator("#video .pill").first.inner_text()
    assert user == f"User {model.audience([item], 10)['user_id'].iloc[0]}"
    page.locator("#video .pill").first.click()
    until(page, "user => document.querySelector('#answer h3').textContent === user", user)
    assert not page.evaluate("document.querySelector('#video').open")


@of_both
def test_an_unknown_user_is_an_answer_in_words(service, opened):
    page = opened(service)
    page.wait_for_selector(ANSWERED)
    page.fill("#user", "<i>nobody</i>")
    page.press("#user", "Enter")
    page.wait_for_selector("#said.wrong")
    assert "<i>nobody</i>" in page.inner_text("#said")


def test_texts_of_the_service_are_nothing_but_text(model, opened):
    titles = model.items.titles
    titles[1:] = [(EVIL, REVERSED, LONG, UNBROKEN)[row % 4] for row in range(len(titles) - 1)]
    with served(model) as address:
        page = opened(address, 390)
        page.wait_for_selector(ANSWERED)
        settled(page)
        shown = "\n".join(names(page, "#answer"))
        assert page.said == [] and page.locator("#answer script").count() == 0
        assert "<script>alert" in shown and "\\u202eabc\\x07 שלום 🎬👩\u200d🚀" in shown
        assert {len(each) for each in page.locator(".name").evaluate_all("all => all.map(e => e.title)")} >= {
            10_000
        }
        check_looks(page, 390)


def test_a_token_is_asked_for_and_kept_in_memory_alone(model, opened):
    with served(model, token="secret") as address:
        page = opened(address)
        assert page.locator("#content").is_hidden() and page.said == []
        page.fill("#token", "wrong")
        page.press("#token", "Enter")
        page.wait_for_selector("#token-said:not(:empty)")
        assert "token" in page.inner_text("#token-said")
        page.fill("#token", "secret")
        page.press("#token", "Enter")
        page.wait_for_selector(ANSWERED)
        settled(page)
        assert page.locator("#token-form").is_hidden()
        kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, location.href]")
        assert kept == [0, 0, "", address]
        assert page.input_value("#token") == ""


def test_a_service_without_users_answers_histories(model, opened):
    model.users = None
    with served(model) as address:
        page = opened(address)
        until(page, "document.querySelector('#said').textContent.includes('history')")
        assert page.locator("#user-form").is_hidden()
        page.fill("#history", "3 7")
        page.press("#history", "Enter")
        page.wait_for_selector(ANSWERED)


def test_where_pictures_are_gone_the_service_is_not_asked_for_each(model, opened, tmp_path):
    model.config["data_path"] = str(tmp_path / "gone")
    with served(model) as address:
        page = opened(address)
        page.wait_for_selector(ANSWERED)
        until(page, "[...document.querySelectorAll('.card .facts')].every(e => e.textContent)")
        asks = [each for each in page.requests if each.endswith("/thumbnail")]
        assert 5 <= len(asks) <= 5 + 4


def test_a_model_that_cannot_rank_new_videos_says_why(model, opened, monkeypatch):
    about = Answers.about
    reason = "SASRecID knows items by id alone."
    refusal = {"can_add_items": False, "reason": reason, "looks_at": []}
    monkeypatch.setattr(Answers, "about", lambda self: about(self) | refusal)
    with served(model) as address:
        page = opened(address)
        page.wait_for_selector(ANSWERED)
        assert page.locator("#upload-form").is_hidden()
        assert page.inner_text("#upload-reason") == reason


def test_a_model_with_ids_ranks_a_new_video_by_its_content_alone(model, opened, clip, monkeypatch):
    about, add, sent = Answers.about, Answers.add, []

    def adding(self, fields, files):
        sent.append(fields)
        return add(self, fields, files)

    refusal = {"can_add_items": False, "reason": "It also has an embedding by id."}
    monkeypatch.setattr(Answers, "about", lambda self: about(self) | refusal)
    monkeypatch.setattr(Answers, "add", adding)
    with served(model) as address:
        page = opened(address)
        page.wait_for_selector(ANSWERED)
        assert page.inner_text("#upload-reason") == "It also has an embedding by id."
        page.set_input_files("#video-file", clip)
        page.check("#cold")
        page.click("#upload-button")
        page.wait_for_selector("#landed .landings")
    assert [fields["cold"] for fields in sent] == ["content"]


def test_names_of_users_are_nothing_but_text(model, opened):
    ids = model.users.user_ids.copy()
    ids[1] = f"a/b?c#d {EVIL}"
    model.users = dataclasses.replace(model.users, user_ids=ids)
    with served(model) as address:
        page = opened(address)
        page.wait_for_selector(ANSWERED)
        assert page.inner_text("#answer h3").startswith("User a/b?c#d <script>") and page.said == []
