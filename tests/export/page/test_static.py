"""The file: whole, escaped, fetching nothing, and what it shows is what the model says."""

import dataclasses
import json
import re
import shutil

import pytest
from outline import Outline

from recbole_microlens import cli
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.catalogue import read_catalogue, write_catalogue
from recbole_microlens.export.page.contents import Contents
from recbole_microlens.export.page.static import page, write_page
from recbole_microlens.export.page.thumbnails import Thumbnails
from recbole_microlens.export.page.wanted import drawn_users
from recbole_microlens.quick_start import load, run

EVIL = '<script>alert("x")</script>\'"&<img src=http://x.test/a onerror=alert(1)>'
REVERSED = "\u202eabc\u0007 שלום 🎬👩\u200d🚀"
LONG = "very " * 2000
UNBROKEN = "w" * 10_000


@pytest.fixture
def copied(videos_run, tmp_path):
    """A copy of the run's folder, to be changed."""
    return shutil.copytree(videos_run, tmp_path / "copied")


@pytest.fixture
def odd(copied):
    """The run with titles that do not mean well."""
    catalogue = read_catalogue(copied)
    titles = catalogue.titles.copy()
    titles[1:] = [(EVIL, REVERSED, LONG, UNBROKEN)[row % 4] for row in range(len(titles) - 1)]
    write_catalogue(copied, dataclasses.replace(catalogue, titles=titles))
    return copied


@pytest.fixture(scope="module")
def whole(videos_run):
    """The page of five users, and of a new video."""
    return page(load(videos_run, device="cpu"), users=5, k=4)


def test_a_page_has_every_part_and_fetches_nothing(whole):
    found = Outline(whole)
    assert len(found.ids) == len(set(found.ids))
    assert all(each.startswith(("#", "data:")) for each in found.fetched)
    assert {f"#{each}" for each in found.ids} >= {each for each in found.fetched if each.startswith("#")}
    assert not re.search(r"url\((?!data:image/jpeg)|@import|<script|<iframe|https?://", whole)
    levels = [int(heading[1]) for heading in found.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    for word in ("SASRecV", "tiny", "its frames", "Higher is better", "cosine", "recbole-microlens"):
        assert word in found.words


def test_the_policy_allows_one_style_sheet_and_pictures_inside(whole):
    found = Outline(whole)
    expected = {"default-src": ["'none'"], "style-src": [found.hash_of("style")], "img-src": ["data:"]}
    assert found.policy() == expected


def test_lists_scores_and_the_next_video_are_those_of_the_model(whole, model):
    found, users = Outline(whole), drawn_users(model, 5)
    shown = Contents(model, 4).users(users)
    for number, user in enumerate(shown, 1):
        cards = found.users[f"user-{number}"]
        history, listed = cards[: len(user.history) + 1], cards[len(user.history) + 1 :]
        assert [card["name"] for card in history] == [item.name for item in [*user.history, user.next]]
        assert ["is-next" in card["classes"] for card in history] == [False] * len(user.history) + [True]
        assert [card["name"] for card in listed] == [place.item.name for place in user.places]
        marked = [
            place.rank
            for place, card in zip(user.places, listed, strict=True)
            if "is-next" in card["classes"]
        ]
        assert marked == [user.next_rank] * (user.next_rank <= 4)
        assert f"watched next: rank {user.next_rank} of {user.candidates}" in found.words
        assert (f"it has rank {user.next_rank}" in found.words) or user.next_rank <= 4
    scores = [float(value) for value in re.findall(r'score <data value="([^"]*)">', whole)]
    assert scores == model.recommend(users, k=4, at="test")["score"].tolist()


def test_pictures_are_those_of_the_items_and_stand_in_the_page_once(whole, model):
    found, thumbnails = Outline(whole), Thumbnails(model)
    ids = {title: item for title, item in zip(model.titles, model.item_ids, strict=True) if title}
    pictures = found.pictures
    assert len(set(pictures.values())) == len(pictures) > 10
    assert len(found.cards) > 2 * len(pictures)
    for card in found.cards:
        assert pictures[card["picture"]] == thumbnails.of(ids[card["name"]])
        assert card["alt"] == f"Picture of {card['name']}"


def test_equal_questions_give_equal_pages(whole, model):
    assert page(model, users=5, k=4) == whole


def test_titles_are_nothing_but_text(odd):
    whole = page(load(odd, device="cpu"), users=3, k=6)
    found = Outline(whole)
    assert "<script" not in whole and "<img src=http" not in whole and 'onerror="' not in whole
    assert not any("x.test" in each for each in found.fetched)
    assert "&lt;script&gt;alert(" in whole
    assert "\u202e" not in whole and "\x07" not in whole
    assert "\\u202eabc\\x07 שלום 🎬👩\u200d🚀" in found.words
    assert {len(card["name"]) for card in found.cards} >= {len(LONG)}
    assert "very " * 15 + "very…" in found.words and "very " * 20 not in found.words
    assert "w" * 79 + "…" in found.words and "w" * 81 not in found.words


def test_odd_names_of_users_are_nothing_but_text(model):
    names = model.users.user_ids.copy()
    names[1:3] = [EVIL, REVERSED]
    model.users = dataclasses.replace(model.users, user_ids=names)
    found = Outline(page(model, users=[EVIL, REVERSED], k=2))
    assert "<script" not in found.page and "\u202e" not in found.page
    assert EVIL[:30] in found.words


def test_a_new_video_is_shown_with_its_rank_its_audience_and_its_neighbours(model, clip):
    users = drawn_users(model, 3)
    found = Outline(page(model, users=3, new_videos=[clip], k=4))
    assert "Video clip" in found.words and "added from their files" in found.words
    for user in model.audience(["clip"], 4)["user_id"]:
        assert re.search(rf"<li>User <bdi>{user}</bdi></li>", found.page)
    listed = model.recommend(users, k=100, at="test").set_index(["user_id", "item_id"])
    for user in users:
        score = float(listed["score"][user, "clip"])
        (value,) = re.findall(rf'User <bdi>{user}</bdi></span> <strong>.*?<data value="([^"]*)">', found.page)
        assert float(value) == pytest.approx(score)
    assert len(found.pictures) == len(set(found.pictures.values()))


def test_lists_above_new_videos_are_as_they_were_without_them(whole, videos_run, clip):
    with_clip = Outline(page(load(videos_run, device="cpu"), users=5, new_videos=[clip], k=4))
    alone = Outline(whole)

    def listed(found):
        return [
            (name, card["name"], card["text"])
            for name, cards in found.users.items()
            if name
            for card in cards
        ]

    assert listed(with_clip) == listed(alone)


def test_without_the_dataset_a_page_has_titles_and_says_why_no_pictures(videos_run, tmp_path):
    found = Outline(page(load(videos_run, device="cpu", data_path=tmp_path / "gone"), users=2, k=3))
    assert not found.pictures and "There are no pictures" in found.words
    assert all("name" in card and "picture" not in card for card in found.cards)
    assert found.page.count('class="picture none" aria-hidden="true"') >= len(found.cards)


def test_without_users_a_page_has_neighbours_of_the_most_watched(copied):
    (copied / "users.pth").unlink()
    model = load(copied, device="cpu")
    found = Outline(page(model))
    assert "does not say who its users are" in found.words and set(found.users) == {None}
    counts = model.catalogue.train_count[1:]
    (first,) = re.findall(r'id="alike-1".*?<bdi>(.*?)</bdi>', found.page)
    assert first == str(model.titles[int(counts.argmax()) + 1]).replace('"', "&#34;")


def test_a_model_without_vectors_shows_its_lists_and_says_so(settings):
    folder = run("Pop", "tiny", config_dict=settings)["folder"]
    model = load(folder, device="cpu")
    found = Outline(page(model, users=2, k=3))
    assert "keeps no embedding of an item" in found.words and "its id" in found.words
    names = [card["name"] for card in found.users["user-1"][-3:]]
    (user, _) = drawn_users(model, 2)
    assert names == [
        Contents(model, 3).item(row).name
        for row in model.rows_of(model.recommend([user], k=3, at="test")["item_id"].tolist())
    ]
    model.users = None
    with pytest.raises(MicroLensError, match="nothing can be shown"):
        page(model)


@pytest.mark.parametrize("name", ["BPR", "ItemKNN", "FPMC", "SASRecID"])
def test_a_model_of_any_kind_has_a_page_of_its_lists(name, small):
    model = load(run(name, "tiny", config_dict=small)["folder"], device="cpu")
    found, users = Outline(page(model, users=3, k=4)), drawn_users(model, 3)
    scores = [float(value) for value in re.findall(r'score <data value="([^"]*)">', found.page)]
    assert scores == model.recommend(users, k=4, at="test")["score"].tolist()
    for number, user in enumerate(Contents(model, 4).users(users), 1):
        assert f"watched next: rank {user.next_rank} of {user.candidates}" in found.words
        marked = [card for card in found.users[f"user-{number}"] if "is-next" in card["classes"]]
        assert {card["name"] for card in marked} == {user.next.name}


def test_a_page_that_cannot_be_made_leaves_nothing(model, tmp_path, clip):
    out = tmp_path / "out" / "page.html"
    clip.write_bytes(b"no video")
    with pytest.raises(MicroLensError, match="clip"):
        write_page(model, out, users=2, new_videos=[clip])
    assert not out.parent.exists()


def test_the_tiles_count_what_the_page_shows(whole, model):
    shown = Contents(model, 4).users(drawn_users(model, 5))
    hits = sum(user.next_rank <= 4 for user in shown)
    chance = sum(4 / user.candidates for user in shown)
    assert f"<dd>{hits} of 5</dd>" in whole and f"<dd>{chance:.1f} of 5</dd>" in whole
    assert "of all test users" not in whole  # the run has no hit@4
    result = json.loads((model.folder / "result.json").read_text())["test_result"]["hit@5"]
    assert f"<dd>{result:.1%}</dd>" in page(model, users=2, k=5)


def ran(*words):
    return cli.main(["page", *map(str, words)])


def test_the_command_says_where_the_page_is(videos_run, tmp_path, capsys):
    out = tmp_path / "sub" / "page.html"
    assert ran(videos_run, "--users=2,1", "-k", "3", f"--out={out}") == 0
    assert capsys.readouterr().out == f"{out}\n"
    found = Outline(out.read_text(encoding="utf-8"))
    assert re.findall(r'id="user-\d">User <bdi>(.*?)</bdi>', found.page) == ["2", "1"]
    assert [path.name for path in out.parent.iterdir()] == ["page.html"]


def test_users_may_be_in_a_file(videos_run, tmp_path):
    (tmp_path / "users.txt").write_text("5\n3\n")
    out = tmp_path / "page.html"
    assert ran(videos_run, f"--users={tmp_path / 'users.txt'}", f"--out={out}") == 0
    assert re.findall(r'id="user-\d">User <bdi>(.*?)</bdi>', out.read_text()) == ["5", "3"]


def test_one_user_is_named_with_a_comma_behind(videos_run, tmp_path):
    out = tmp_path / "page.html"
    assert ran(videos_run, "--users=2,", f"--out={out}") == 0
    assert re.findall(r'id="user-\d">User <bdi>(.*?)</bdi>', out.read_text()) == ["2"]


def test_a_folder_is_no_page(videos_run, tmp_path, capsys):
    assert ran(videos_run, f"--out={tmp_path}") == 2
    assert f"{tmp_path} is a folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--users=nobody,"], "nobody: no such user"),
        (["--users=,"], "names no id"),
        (["--users=0"], "0 do not fit on a page"),
        (["-k", "0"], "give 1 to 100"),
        (["--data-path=nowhere"], "there is no dataset nowhere"),
        (["--new-videos=nowhere.mp4"], "nowhere.mp4"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(videos_run, tmp_path, capsys, words, said):
    out = tmp_path / "page.html"
    assert ran(videos_run, *words, f"--out={out}") == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not out.exists()
