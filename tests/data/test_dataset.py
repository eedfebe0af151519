"""Datasets under the protocol: order, latest interactions, histories and whole sequences."""

import csv
import itertools
import logging
import random

import pytest

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import HISTORY_LENGTH, create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.release.atomic import convert
from recbole_microlens.training.preparation import prepare_data

START_MS = 1_583_378_629_552


def config_for(model, data_path, name, **settings):
    quiet = {"data_path": str(data_path), "use_gpu": False, "show_progress": False}
    return Config(model, name, config_dict=quiet | settings)


def tokens(dataset, ids):
    return [str(dataset.id2token("item_id", int(i))) for i in ids if i != 0]


def interactions(users=50, items=10, step_ms=1, seed=0):
    """Rows (user, item, ms) in random order, and each user's items from old to new."""
    rng = random.Random(seed)
    history = {f"u{u}": [f"i{i}" for i in rng.sample(range(40), items)] for u in range(users)}
    rows = [
        (user, item, START_MS + step_ms * place)
        for user, sequence in history.items()
        for place, item in enumerate(sequence)
    ]
    rng.shuffle(rows)
    return rows, history


@pytest.mark.parametrize("step_ms", [1, 0])
def test_items_milliseconds_apart_keep_their_order_from_raw_times(write_inter, step_ms):
    rows, history = interactions(step_ms=step_ms)
    if step_ms == 0:  # all at one time: the order of the file counts
        history = {user: [item for u, item, _ in rows if u == user] for user in history}
    config = config_for("SASRec", write_inter("exact", rows), "exact", max_user_interactions=None)
    dataset = create_dataset(config)
    _, _, test = prepare_data(config, dataset)
    for row in range(len(test._dataset)):
        sample = test._dataset.inter_feat[row]
        user = str(dataset.id2token("user_id", int(sample["user_id"])))
        assert tokens(dataset, sample["item_id_list"]) == history[user][:-1]
        assert tokens(dataset, [sample["item_id"]]) == history[user][-1:]


def test_converted_release_keeps_order_to_the_millisecond_through_our_datasets(tmp_path):
    rows, history = interactions()
    release = tmp_path / "release"
    release.mkdir()
    lines = ["user,item,timestamp", *(f"{u[1:]},{i[1:]},{t}" for u, i, t in rows)]
    (release / "MicroLens-9k_pairs.csv").write_text("\n".join(lines) + "\n")
    convert(release, "nine", tmp_path / "atomic")
    config = config_for("SASRec", tmp_path / "atomic", "nine")
    dataset = create_dataset(config)
    _, _, test = prepare_data(config, dataset)
    targets = test._dataset.inter_feat
    found = {
        "u" + str(dataset.id2token("user_id", int(u))): "i" + str(dataset.id2token("item_id", int(i)))
        for u, i in zip(targets["user_id"], targets["item_id"], strict=True)
    }
    assert found == {user: items[-1] for user, items in history.items()}


def test_titles_are_read_word_by_word(tiny_data):
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title", "likes"]}
    dataset = create_dataset(config_for("SASRec", tiny_data, "tiny", load_col=columns))
    with (tiny_data / "tiny" / "tiny.item").open(encoding="utf-8", newline="") as file:
        rows = {row["item_id:token"]: row for row in csv.DictReader(file, delimiter="\t")}
    for item, title, likes in zip(*(dataset.item_feat[c] for c in columns["item"]), strict=True):
        token = str(dataset.id2token("item_id", int(item)))
        if token == "[PAD]":
            continue
        words = dataset.id2token("title", title)
        assert [word for word in words if word != "[PAD]"] == rows[token]["title:token_seq"].split()
        assert float(likes) == float(rows[token]["likes:float"])


def test_latest_interactions_are_kept_and_items_numbered_after_that(write_inter):
    rows = [("a", f"a{k}", k) for k in range(20)] + [("b", f"b{k}", k) for k in range(5)]
    rows += [("c", "only-c", k) for k in range(3)]  # fewer than five interactions: dropped
    config = config_for("SASRec", write_inter("latest", rows), "latest")
    dataset = create_dataset(config)
    dataset.build()
    kept = set(map(str, dataset.field2id_token["item_id"][1:]))
    assert kept == {f"a{k}" for k in range(7, 20)} | {f"b{k}" for k in range(5)}
    assert dataset.user_num == 3  # padding, a and b


def test_history_is_everything_before_the_target_however_long_the_input(write_inter):
    rows = [("a", f"i{k}", k) for k in range(12)] + [("b", f"i{k}", k) for k in range(6)]
    config = config_for("SASRec", write_inter("history", rows), "history", MAX_ITEM_LIST_LENGTH=4)
    dataset = create_dataset(config)
    _, valid, test = prepare_data(config, dataset)
    for loader, before_target in ((valid, {"a": 10, "b": 4}), (test, {"a": 11, "b": 5})):
        interaction, (seen_row, seen_item), _, positive = next(iter(loader))
        for row, user_id in enumerate(interaction["user_id"]):
            user = str(dataset.id2token("user_id", int(user_id)))
            count = before_target[user]
            assert tokens(dataset, seen_item[seen_row == row]) == [f"i{k}" for k in range(count)]
            assert tokens(dataset, positive[row : row + 1]) == [f"i{count}"]
            assert interaction[HISTORY_LENGTH][row] == count


def test_a_target_seen_before_is_not_masked(write_inter):
    rows = [("a", item, time) for time, item in enumerate(["x", "y", "z", "x", "y", "x"])]
    config = config_for("SASRec", write_inter("repeat", rows), "repeat")
    dataset = create_dataset(config)
    _, _, test = prepare_data(config, dataset)
    _, (_, seen), _, positive = next(iter(test))
    assert tokens(dataset, positive) == ["x"]
    assert set(tokens(dataset, seen)) == {"y", "z"}


def test_one_whole_training_sequence_a_user_and_popularity_of_the_training_part(write_inter):
    rows = [("a", f"i{k}", k) for k in range(15)] + [("b", f"i{k}", k) for k in range(5)]
    data_path = write_inter("whole", rows)
    dataset = create_dataset(config_for("SASRecV", data_path, "whole"))
    train, valid, test = dataset.build()
    sequences = {
        str(dataset.id2token("user_id", int(sample["user_id"]))): tokens(dataset, sample["item_id_list"])
        + tokens(dataset, [sample["item_id"]])
        for sample in (train.inter_feat[row] for row in range(len(train)))
    }
    assert sequences == {"a": [f"i{k}" for k in range(2, 13)], "b": ["i0", "i1", "i2"]}
    assert (len(valid), len(test)) == (2, 2)
    counts = {
        str(t): int(c) for t, c in zip(dataset.field2id_token["item_id"], train.popularity, strict=True)
    }
    assert counts.pop("[PAD]") == 0
    expected = {f"i{k}": 0 for k in range(15)}
    for item in [f"i{k}" for k in range(2, 13)] + ["i0", "i1", "i2"]:
        expected[item] += 1
    assert counts == expected


def windows_of(dataset, train):
    """The items of each training sample, input and target, by user, in the order of the samples."""
    found = {}
    for row in range(len(train)):
        sample = train.inter_feat[row]
        items = tokens(dataset, sample["item_id_list"]) + tokens(dataset, [sample["item_id"]])
        found.setdefault(str(dataset.id2token("user_id", int(sample["user_id"]))), []).append(items)
    return found


@pytest.mark.parametrize("most", [None, 40])
def test_a_long_history_is_cut_into_windows_so_that_each_interaction_is_a_target_once(write_inter, most):
    lengths = {"long": 29, "just": 13, "longer": 14, "short": 5}
    rows = [(user, f"{user}{k}", k) for user, length in lengths.items() for k in range(length)]
    config = config_for("SASRecV", write_inter("cut", rows), "cut", max_user_interactions=most)
    dataset = create_dataset(config)
    train, valid, test = dataset.build()
    found = windows_of(dataset, train)
    targets = {user: [item for window in windows for item in window[1:]] for user, windows in found.items()}
    assert targets == {user: [f"{user}{k}" for k in range(1, n - 2)] for user, n in lengths.items()}
    # The last window is RecBole's last sample; each begins with the item that the one before ends with.
    assert [len(window) for window in found["long"]] == [7, 11, 11]
    assert [len(window) for window in found["longer"]] == [2, 11]
    assert [len(window) for window in found["just"]] == [11]
    assert all(a[-1] == b[0] for windows in found.values() for a, b in itertools.pairwise(windows))
    assert int(train.popularity.sum()) == sum(n - 2 for n in lengths.values())
    assert set(train.popularity[1:].tolist()) == {0, 1}
    assert (len(valid), len(test)) == (4, 4)


def test_samples_that_contain_an_item_are_counted_once_each(write_inter):
    histories = {"a": "xyxzw", "b": "yzwxv"}
    rows = [(user, item, t) for user, items in histories.items() for t, item in enumerate(items)]
    dataset = create_dataset(config_for("NARMV", write_inter("contain", rows), "contain"))
    train = dataset.build()[0]
    names = map(str, dataset.field2id_token["item_id"])
    counts = dict(zip(names, train.samples_with_item().tolist(), strict=True))
    # Samples: x>y, xy>x of a; y>z, yz>w of b.
    assert counts == {"[PAD]": 0, "x": 2, "y": 4, "z": 2, "w": 1, "v": 0}
    assert len(train) == 4


def test_a_split_over_all_users_together_gives_one_sequence_a_user_too(write_inter):
    rows = [(f"u{user}", f"i{(user * 3 + k) % 9}", user + 10 * k) for k in range(8) for user in range(12)]
    data_path = write_inter("together", rows)
    together = {"split": {"RS": [0.6, 0.2, 0.2]}, "group_by": None, "order": "TO", "mode": "full"}
    dataset = create_dataset(config_for("SASRecV", data_path, "together", eval_args=together))
    train = dataset.build()[0]
    users = train.inter_feat["user_id"]
    assert 1 < len(users) == len(users.unique())
    lengths = train.inter_feat["item_length"]
    assert int(lengths.max()) > 1


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_the_log_counts_users_with_too_few_interactions(model, write_inter, caplog):
    rows = [(f"u{user}", f"i{item}", item) for user, n in enumerate((4, 5, 6, 1)) for item in range(n)]
    data_path = write_inter("short", rows)
    with caplog.at_level(logging.INFO):
        dataset = create_dataset(config_for(model, data_path, "short"))
    assert dataset.user_num - 1 == 2
    assert (
        "dropped: 2 of 4 users and 5 of 16 interactions (`user_inter_num_interval`: [5,inf))" in caplog.text
    )


def test_a_dataset_whose_users_are_all_dropped_is_an_error_that_names_the_setting(write_inter):
    data_path = write_inter("short", [("u", f"i{item}", item) for item in range(4)])
    with pytest.raises(MicroLensError, match="1 of 1 users .*which is all .*Widen `user_inter_num_interval`"):
        create_dataset(config_for("SASRec", data_path, "short"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("u\ti3\0\t5", "line 8: holds a NUL byte"),
        ("u\ti3", "line 8: 2 fields instead of 3"),
        ("u\ti3\t5\t6\t7", "line 8: 5 fields instead of 3"),
        ("u\ti3\tnan", "line 8: column timestamp: 'nan' is not a finite number"),
        ("u\ti3\tinf", "line 8: column timestamp: 'inf' is not a finite number"),
        ("u\tNA\t5", "line 8: column item_id: 'NA' is read as missing"),
    ],
)
def test_a_row_that_recbole_would_change_without_a_word_is_named(row, message, write_inter):
    data_path = write_inter("mine", [(user, f"i{k}", k) for user in "uv" for k in range(3)])
    with (data_path / "mine" / "mine.inter").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(MicroLensError, match=f"mine.inter, {message}"):
        create_dataset(config_for("SASRec", data_path, "mine"))


def test_an_item_that_stands_twice_in_the_item_file_is_named(write_inter):
    data_path = write_inter("mine", [(user, f"i{k}", k) for user in "uv" for k in range(3)])
    (data_path / "mine" / "mine.item").write_text("item_id:token\tviews:float\ni1\t5\ni2\t\ni1\t6\n")
    load = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "views"]}
    with pytest.raises(MicroLensError, match="mine.item, line 4: item_id 'i1' is already in line 2"):
        create_dataset(config_for("SASRec", data_path, "mine", load_col=load))


def test_an_item_whose_sequences_are_empty_has_none(write_inter):
    watched = ["i1", "i2", "i3", "i1", "i2", "i3"]
    data_path = write_inter("gaps", [("u1", item, time) for time, item in enumerate(watched)])
    lines = ["item_id:token\ttags:token_seq\tprices:float_seq", "i1\ta b\t1 2", "i2\t\t", "i3\tb\t3"]
    (data_path / "gaps" / "gaps.item").write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = {
        "inter": ["user_id", "item_id", "timestamp"],
        "item": ["item_id", "tags", "prices"],
    }
    dataset = create_dataset(config_for("SASRec", data_path, "gaps", load_col=columns))
    features = dataset.item_feat
    names = dataset.id2token("item_id", features["item_id"].to_numpy())
    tags, prices = (dict(zip(names, map(list, features[name]), strict=True)) for name in ("tags", "prices"))
    assert (len(tags["i1"]), len(tags["i2"]), len(tags["i3"])) == (2, 0, 1)
    assert (prices["i1"], prices["i2"], prices["i3"]) == ([1, 2], [], [3])
