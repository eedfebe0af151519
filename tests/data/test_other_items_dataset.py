"""Samples with all other training items as the history."""

import random

import pytest
import torch

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.other_items import other_places
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.nfm import NFMID


def parts_of(data_path, name, **settings):
    quiet = {
        "data_path": str(data_path),
        "use_gpu": False,
        "embedding_size": 4,
        "train_neg_sample_args": None,
    }
    dataset = create_dataset(Config(NFMID, name, config_dict=quiet | settings))
    return dataset, dataset.build()


def samples_of(part):
    """By user, (history, target) as tokens, in the order of the samples."""
    found: dict[str, list] = {}
    for row in range(len(part)):
        sample = part.inter_feat[row]
        length = int(sample["item_length"])
        history = part.id2token("item_id", sample["item_id_list"])
        assert (sample["item_id_list"][length:] == 0).all()
        user = str(part.id2token("user_id", int(sample["user_id"])))
        target = str(part.id2token("item_id", int(sample["item_id"])))
        found.setdefault(user, []).append(([str(token) for token in history[:length]], target))
    return found


def write(write_inter, sequences, seed=0):
    rows = [(u, i, 100 + t) for u, items in sequences.items() for t, i in enumerate(items)]
    random.Random(seed).shuffle(rows)
    return write_inter("others", rows)


@pytest.fixture
def sequences():
    rng = random.Random(0)
    return {f"u{u}": [f"i{i}" for i in rng.choices(range(15), k=rng.randint(5, 13))] for u in range(12)}


def test_each_training_item_is_the_target_once_and_all_others_are_the_history(write_inter, sequences):
    _, (train, _, _) = parts_of(write(write_inter, sequences), "others")
    expected = {
        user: [(items[:-2][:place] + items[place + 1 : -2], items[place]) for place in range(len(items) - 2)]
        for user, items in sequences.items()
    }
    assert samples_of(train) == expected


def test_of_more_others_than_fit_the_latest_are_taken(write_inter, sequences):
    _, (train, _, _) = parts_of(write(write_inter, sequences), "others", MAX_ITEM_LIST_LENGTH=3)
    expected = {}
    for user, items in sequences.items():
        items = items[:-2]
        others = [(items[:place] + items[place + 1 :], items[place]) for place in range(len(items))]
        expected[user] = [(history[-3:], target) for history, target in others]
    assert samples_of(train) == expected


def test_validation_and_test_see_what_came_before(write_inter, sequences):
    _, (_, valid, test) = parts_of(write(write_inter, sequences), "others")
    assert samples_of(valid) == {user: [(items[:-2][-10:], items[-2])] for user, items in sequences.items()}
    assert samples_of(test) == {user: [(items[:-1][-10:], items[-1])] for user, items in sequences.items()}


def test_popularity_counts_training_interactions(write_inter, sequences):
    dataset, (train, _, _) = parts_of(write(write_inter, sequences), "others")
    expected = torch.zeros(dataset.item_num, dtype=torch.int64)
    for items in sequences.values():
        for item in items[:-2]:
            expected[dataset.token2id("item_id", item)] += 1
    assert train.popularity.tolist() == expected.tolist()
    assert len(train) == expected.sum()


def test_the_shortest_users_train_on_two_items(write_inter):
    sequences = {"three": ["a", "b", "c"], "two": ["c", "a"]}
    _, (train, _, test) = parts_of(write(write_inter, sequences), "others", user_inter_num_interval="[2,inf)")
    assert samples_of(train) == {
        "three": [(["b"], "a"), (["a"], "b")],
        "two": [(["a"], "c"), (["c"], "a")],
    }
    assert samples_of(test) == {"three": [(["a", "b"], "c")]}


def test_users_of_one_interaction_are_one_clear_error(write_inter):
    sequences = {"one": ["a"], "two": ["b"]}
    with pytest.raises(MicroLensError, match="no user has two training interactions"):
        parts_of(write(write_inter, sequences), "others", user_inter_num_interval="[1,inf)")


@pytest.mark.parametrize("most", [1, 2, 5])
def test_other_places_against_lists(most):
    cases = [(place, total) for total in range(1, 9) for place in range(total)]
    place, total = torch.tensor(cases).T
    others, length = other_places(place, total, most)
    for row, (own, count) in enumerate(cases):
        expected = [other for other in range(count) if other != own][-most:]
        assert others[row].tolist() == expected + [-1] * (most - len(expected))
        assert length[row] == len(expected)
