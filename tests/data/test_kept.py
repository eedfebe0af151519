"""The warm settings: items with few interactions are dropped, before anything else is."""

import numpy as np
import pytest

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.kept import latest_of_users, of_items_with
from recbole_microlens.errors import MicroLensError


def built(data_path, name, **settings):
    quiet = {"data_path": str(data_path), "use_gpu": False, "show_progress": False}
    dataset = create_dataset(Config("SASRec", name, config_dict=quiet | settings))
    dataset.build()
    return dataset


def kept(data_path, name, **settings):
    """(users, items) that a dataset keeps."""
    dataset = built(data_path, name, **settings)
    return tuple(set(map(str, dataset.field2id_token[f"{what}_id"][1:])) for what in ("user", "item"))


def test_items_are_counted_once():
    items = np.array(["a", "b", "a", "c", "b", "a"])
    assert of_items_with(items, 2).tolist() == [True, True, True, False, True, True]
    assert of_items_with(items, 3).tolist() == [True, False, True, False, False, True]
    assert of_items_with(items, 1).all()


def test_the_latest_are_those_of_the_order_given():
    users, times = np.array([1, 0, 1, 1, 0]), np.array([5, 9, 4, 6, 8])
    order = np.lexsort((times, users))
    assert latest_of_users(users, order, 2).tolist() == [0, 1, 3, 4]
    assert latest_of_users(users, order, 1).tolist() == [1, 3]


def six_users_each_with(*items):
    return [(f"u{u}", item, time) for u in range(6) for time, item in enumerate(items)]


@pytest.mark.parametrize("least", [None, 1, 6])
def test_items_that_are_frequent_enough_stay(least, write_inter):
    rows = six_users_each_with("a", "b", "c", "d", "e", "f")
    assert kept(write_inter("warm", rows), "warm", min_item_interactions=least)[1] == set("abcdef")


def test_what_is_rare_in_the_whole_dataset_is_dropped_before_users_are(write_inter):
    rows = six_users_each_with("a", "b", "c", "d", "e")
    rows += [("short", item, time) for time, item in enumerate("abcd")]  # dropped by itself, but it counts
    rows += [("shortened", item, time) for time, item in enumerate(["a", "b", "c", "d", "rare"])]
    users, items = kept(write_inter("warm", rows), "warm", min_item_interactions=2)
    assert items == set("abcde") and users == {f"u{u}" for u in range(6)}
    # a to d have 8 interactions, of which the users that are dropped have 2; e has 6.
    users, items = kept(
        write_inter("warm8", [*rows, ("u0", "f", 9)]),
        "warm8",
        min_item_interactions=8,
        user_inter_num_interval="[4,inf)",
    )
    assert items == set("abcd") and users == {f"u{u}" for u in range(6)} | {"short", "shortened"}


def test_users_that_are_dropped_make_no_further_item_rare(write_inter):
    """Not a core of users and items that is sought in turn, as ``item_inter_num_interval`` does it."""
    rows = six_users_each_with("a", "b", "c", "d", "e")
    rows += [("u0", "once more", 9), ("short", "once more", 0)]  # one of its two is of a user who is dropped
    path = write_inter("once", rows)
    assert "once more" in kept(path, "once", min_item_interactions=2)[1]
    assert "once more" not in kept(path, "once", item_inter_num_interval="[2,inf)")[1]


def test_a_user_keeps_the_latest_of_what_is_left(write_inter):
    """Were the latest 13 taken first, the user would keep 10."""
    common = [f"c{k}" for k in range(14)]
    rows = [(user, item, time) for user in ("x", "y") for time, item in enumerate(common)]
    rows += [("x", f"only x has {k}", 100 + k) for k in range(3)]
    dataset = built(write_inter("latest", rows), "latest", min_item_interactions=2)
    items = [str(dataset.id2token("item_id", int(i))) for i in dataset.user_items.items]
    assert items == common[1:] * 2


def test_what_is_dropped_is_logged(write_inter, caplog):
    rows = [*six_users_each_with("a", "b", "c", "d", "e"), ("u0", "rare", 9), ("v", "other", 0)]
    caplog.set_level("INFO")
    kept(write_inter("log", rows), "log", min_item_interactions=2)
    assert (
        "dropped: 2 of 7 items, 1 of 7 users, 2 of 32 interactions (`min_item_interactions`: 2)"
        in caplog.text
    )


def test_nothing_left_is_an_error_with_advice(write_inter):
    path = write_inter("all", six_users_each_with("a", "b", "c", "d", "e"))
    with pytest.raises(MicroLensError, match="which is all .`min_item_interactions`: 7.. Lower it"):
        kept(path, "all", min_item_interactions=7)


def test_a_dropped_item_is_no_candidate_though_the_item_file_has_it(tiny_data):
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "likes"]}
    whole, warm = (
        built(tiny_data, "tiny", load_col=columns, min_item_interactions=least) for least in (None, 9)
    )
    assert 1 < warm.item_num < whole.item_num
    assert set(warm.inter_feat["item_id"].tolist()) <= set(range(1, warm.item_num))
