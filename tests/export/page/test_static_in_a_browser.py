"""The file in a real browser: silent, by itself, readable at any width, and by keyboard."""

import base64
import re

import pytest
from looks import check_looks
from test_static import copied, odd  # noqa: F401

from recbole_microlens.export.page.static import write_page
from recbole_microlens.export.page.thumbnails import Thumbnails
from recbole_microlens.export.page.wanted import drawn_users
from recbole_microlens.quick_start import load


@pytest.fixture(scope="module")
def address(videos_run, tiny_release, tmp_path_factory):
    """Where the page of five users and a new video is."""
    out = tmp_path_factory.mktemp("page") / "page.html"
    (clip,) = tiny_release.rglob("3.mp4")
    copy = out.parent / "clip.mp4"
    copy.write_bytes(clip.read_bytes())
    write_page(load(videos_run, device="cpu"), out, users=5, k=4, new_videos=[copy])
    return out.as_uri()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_silent_asks_for_nothing_and_can_be_read(width, scheme, address, opened):
    shown = opened(address, width, scheme)
    assert shown.said == []
    assert [each for each in shown.requests if not each.startswith("data:")] == [address]
    check_looks(shown, width)


def test_every_picture_is_seen_and_is_that_of_its_item(address, opened, model):
    shown, thumbnails = opened(address), Thumbnails(model)
    seen = shown.evaluate(
        "[...document.querySelectorAll('.card img')].map(e => [e.alt, getComputedStyle(e).backgroundImage, "
        "e.getBoundingClientRect().width, e.complete && e.naturalWidth])"
    )
    ids = dict(zip(model.titles, model.item_ids, strict=True))
    assert len(seen) > 40
    for alt, background, width, loaded in seen:
        (data,) = re.findall(r'url\("data:image/jpeg;base64,(.*)"\)', background)
        item = ids.get(alt.removeprefix("Picture of "))
        assert item is None or base64.b64decode(data) == thumbnails.of(item)
        assert width > 60 and loaded == 1


def test_the_marked_video_is_the_one_watched_next(address, opened, model):
    shown = opened(address)
    for number, user in enumerate(drawn_users(model, 5), 1):
        users = model.users
        row = users.row_of[user]
        target = int(users.seen.items[users.seen.start[row] + users.before_test[row]])
        marked = shown.locator(f"section[aria-labelledby=user-{number}] .is-next .name").all_inner_texts()
        assert set(marked) == {str(model.titles[target])} and len(marked) in (1, 2)


def test_a_script_in_a_title_does_nothing(odd, tmp_path, opened):  # noqa: F811
    write_page(load(odd, device="cpu"), tmp_path / "page.html", users=3)
    shown = opened((tmp_path / "page.html").as_uri(), 390)
    assert shown.said == [] and shown.locator("script, img[src^=http]").count() == 0
    assert shown.get_by_text('<script>alert("x")</script>', exact=False).first.is_visible()
    check_looks(shown, 390)
    long = shown.locator("p.name[title^='very very']").first
    assert len(long.get_attribute("title")) == 10_000 and len(long.inner_text()) == 80


def test_the_keyboard_finds_the_content_and_every_user(address, opened):
    shown = opened(address)
    shown.keyboard.press("Tab")
    focused = "document.activeElement"
    assert shown.evaluate(f"{focused}.textContent") == "Skip to the content"
    assert shown.evaluate(f"{focused}.getBoundingClientRect().left") >= 0
    assert shown.evaluate(f"getComputedStyle({focused}).outlineStyle") == "solid"
    for _ in range(3):
        shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    shown.wait_for_function("location.hash === '#user-2'")
    assert shown.locator("#user-2").is_visible()


def test_without_the_pictures_the_page_can_still_be_read(videos_run, tmp_path, opened):
    write_page(load(videos_run, device="cpu", data_path=tmp_path / "gone"), tmp_path / "page.html", users=2)
    shown = opened((tmp_path / "page.html").as_uri(), 390)
    boxes = shown.evaluate(
        "[...document.querySelectorAll('.card .frame')].map(e => e.getBoundingClientRect())"
        ".map(box => [box.width, box.height])"
    )
    assert len(boxes) > 10 and all(wide > 60 and wide == pytest.approx(high, abs=1) for wide, high in boxes)
    assert shown.said == []
    check_looks(shown, 390)
