"""What a page shows is what the model says: its lists and scores, the test's targets and ranks."""

import dataclasses

import numpy as np
import pytest
import torch

from recbole_microlens.data.sequences import UserItems
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.ranks import read_ranks
from recbole_microlens.export.catalogue import TEST, TRAIN, Users
from recbole_microlens.export.given_items import NewItem
from recbole_microlens.export.page.contents import Contents
from recbole_microlens.export.page.wanted import MOST_NEW, drawn_users, new_items


def test_the_next_video_and_its_rank_are_those_of_the_test(model):
    ranks = read_ranks(model.folder)
    k = max(model.config["topk"])
    shown = Contents(model, k).users(ranks.user.tolist())
    assert [user.next.item_id for user in shown] == ranks.item.tolist()
    assert [user.next_rank for user in shown] == ranks.rank.tolist()
    assert [user.watched for user in shown] == ranks.history_length.tolist()
    marked = [[place.rank for place in user.places if place.is_next] for user in shown]
    assert marked == [[rank] if rank <= k else [] for rank in ranks.rank.tolist()]
    assert 0 < sum(map(len, marked)) < len(shown)


def test_lists_and_scores_are_those_of_the_model(model):
    users = ["1", "5", "2"]
    expected = model.recommend(users, k=4, at="test")
    shown = Contents(model, 4).users(users)
    assert [user.user_id for user in shown] == users
    places = [place for user in shown for place in user.places]
    assert [place.item.item_id for place in places] == expected["item_id"].tolist()
    assert [place.score for place in places] == expected["score"].tolist()
    assert [place.rank for place in places] == [1, 2, 3, 4] * 3


def test_the_history_is_the_latest_before_the_target_oldest_first(model):
    (user,) = Contents(model, 4).users(["1"])
    row = model.users.row_of["1"]
    seen = model.users.seen.all_of(torch.tensor([row]))[1].tolist()
    before = [str(model.item_ids[item]) for item in seen[: int(model.users.before_test[row])]]
    assert [item.item_id for item in user.history] == before[-9:]
    assert user.candidates == len(model.item_ids) - 1 - len(set(before))


def users_with(model, histories):
    """Users ``a``, ``b``, ... whose last interaction is the test target."""
    lengths = torch.tensor([0, *map(len, histories)])
    items = torch.tensor([item for history in histories for item in history])
    part = torch.full_like(items, TRAIN, dtype=torch.uint8)
    part[lengths.cumsum(0)[1:] - 1] = TEST
    names = np.array(["[PAD]", *"abc"[: len(histories)]], dtype=object)
    return Users(names, UserItems(items, torch.cat([lengths[:1], lengths.cumsum(0)])), part)


def test_a_target_that_was_watched_before_has_no_rank(model):
    model.users = users_with(model, [[3, 4, 3], [3, 4, 5]])
    again, other = Contents(model, 4).users(["a", "b"])
    assert again.next.item_id == str(model.item_ids[3]) and again.next_rank is None
    assert not any(place.is_next for place in again.places)
    assert 1 <= other.next_rank <= other.candidates == len(model.item_ids) - 1 - 2


def test_an_item_says_how_often_it_was_watched_and_whether_that_is_much(model):
    counts = torch.arange(len(model.item_ids))  # of internal id n, n interactions
    model.catalogue = dataclasses.replace(model.catalogue, train_count=counts)
    contents = Contents(model, 4)
    items = [contents.item(row) for row in range(1, len(counts))]
    assert [item.train_count for item in items] == counts[1:].tolist()
    assert [item.is_popular for item in items] == [False] * 18 + [True] * 2
    model.catalogue = dataclasses.replace(model.catalogue, train_count=torch.zeros_like(counts))
    assert not any(Contents(model, 4).item(row).is_popular for row in range(1, len(counts)))


def test_an_item_without_a_title_has_its_id_for_a_name(model):
    model.items.titles[3] = ""
    assert Contents(model, 4).item(3).name == f"Video {model.item_ids[3]}"


def test_the_same_users_are_drawn_again_and_fewer_are_some_of_them(model):
    many = drawn_users(model, 12)
    assert many == drawn_users(model, 12) and len(set(many)) == 12
    assert set(drawn_users(model, 5)) < set(many)
    everybody = drawn_users(model, 200)
    assert everybody == model.users.user_ids[1:].tolist() and many != everybody[:12]


def test_users_without_a_target_are_drawn_only_where_nobody_has_one(model):
    users = users_with(model, [[3, 4, 5], [5, 6, 7]])
    part = users.part.clone()
    part[-1] = TRAIN
    model.users = dataclasses.replace(users, part=part)
    assert drawn_users(model, 5) == ["a"]
    model.users = dataclasses.replace(users, part=torch.full_like(part, TRAIN))
    assert drawn_users(model, 5) == ["a", "b"]
    (first, _) = Contents(model, 4).users(["a", "b"])
    assert first.next is None and first.next_rank is None and first.watched == 3


@pytest.mark.parametrize("count", [0, -1, 201])
def test_a_page_has_room_for_some_users(model, count):
    with pytest.raises(MicroLensError, match=f"{count} do not fit on a page"):
        drawn_users(model, count)


@pytest.mark.parametrize("k", [0, 101])
def test_a_page_has_room_for_lists_of_some_length(model, k):
    with pytest.raises(MicroLensError, match="give 1 to 100"):
        Contents(model, k)


def test_neighbours_are_those_of_the_model(model):
    contents = Contents(model, 4)
    expected = model.similar_items(["2", "9"], 8)
    found = contents.alike(["2", "9"])
    assert [item.item_id for item, _ in found] == ["2", "9"]
    places = [place for _, each in found for place in each]
    assert [place.item.item_id for place in places] == expected["similar_item_id"].tolist()
    assert [place.score for place in places] == expected["score"].tolist()


def test_a_new_video_lands_where_the_list_with_it_has_it(model, clip):
    users = drawn_users(model, 3)
    before = Contents(model, 4).users(users)
    (video,) = Contents(model, 4).new_videos([NewItem("clip", video=clip, title="Mine")], None, users)
    everything = model.recommend(users, k=100, at="test")
    for user, landing in zip(before, video.landings, strict=True):
        listed = everything[everything["user_id"] == user.user_id].set_index("item_id")
        score = listed["score"]["clip"]
        # It is a copy of another video, and beyond the list either of the two places is its own.
        assert landing.user_id == user.user_id
        assert landing.rank in listed["rank"][np.isclose(listed["score"], score)].tolist()
        assert landing.rank > 4 or landing.rank == listed["rank"]["clip"]
        assert landing.score == pytest.approx(score)
        assert landing.candidates == user.candidates + 1 == len(listed)
    assert video.item.train_count is None and video.item.name == "Mine"
    assert video.audience == model.audience(["clip"], 4)["user_id"].tolist()
    assert [place.item.item_id for place in video.alike] == model.similar_items(["clip"], 8)[
        "similar_item_id"
    ].tolist()


def test_more_new_videos_than_a_page_shows_are_refused(model, tmp_path):
    for number in range(MOST_NEW + 1):
        (tmp_path / f"new-{number}.mp4").touch()
    with pytest.raises(MicroLensError, match="51 new videos do not fit on a page"):
        new_items(model, [tmp_path], None)


def test_a_new_video_that_is_given_twice_is_refused(model, clip):
    with pytest.raises(MicroLensError, match="clip is given twice"):
        new_items(model, [clip, clip.parent], None)
    assert [item.item_id for item in new_items(model, [clip], None)] == ["clip"]
