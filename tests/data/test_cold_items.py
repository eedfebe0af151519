"""``protocol: cold``: who trains, validates and tests on what, the same for every kind of model."""

import logging

import numpy as np
import pytest
import torch

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import HISTORY_LENGTH, create_dataset
from recbole_microlens.data.fingerprint import dataset_fingerprint
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.groups import training_counts
from recbole_microlens.release.atomic import convert
from recbole_microlens.training.preparation import prepare_data

# The cut is at 10: the twelfth of 21 interactions. p... are known by then, n... are cold.
ROWS = [
    ("a", "p1", 1), ("a", "p2", 2), ("a", "p3", 3), ("a", "p4", 4), ("a", "n1", 21), ("a", "n2", 22),
    ("b", "p2", 2), ("b", "p3", 5), ("b", "p1", 6), ("b", "p4", 20), ("b", "n2", 23),
    ("c", "p4", 3), ("c", "n1", 24),
    ("d", "n2", 25), ("d", "n4", 26),
    ("e", "p1", 7), ("e", "p3", 8), ("e", "p2", 27),
    ("f", "p3", 9), ("f", "p2", 10), ("f", "n3", 28),
]  # fmt: skip
SETTINGS = {
    "protocol": "cold",
    "cold_cut": 0.57,
    "user_inter_num_interval": "[2,inf)",
    "topk": [3],
    "valid_metric": "Hit@3",
    "train_batch_size": 2,
    "use_gpu": False,
    "show_progress": False,
}
VALID = {"a": "p4", "b": "p1", "e": "p3", "f": "p2"}
TEST = {"a": "n1", "b": "n2", "c": "n1", "f": "n3"}
SEEN = {"a": ["p1", "p2", "p3", "p4"], "b": ["p1", "p2", "p3"], "c": ["p4"], "f": ["p2", "p3"]}
OF_USERS, OF_SEQUENCES = ("BPR", "DSSMID", "Pop"), ("SASRec", "SASRecID", "NARMID", "NFMID")


@pytest.fixture
def loaders_of(write_inter):
    """Return a function (model, settings) -> (dataset, its three loaders) of ``ROWS``."""
    data_path = write_inter("hand", ROWS)

    def make(model, **more):
        config = Config(model, "hand", config_dict=SETTINGS | {"data_path": str(data_path)} | more)
        dataset = create_dataset(config)
        return dataset, prepare_data(config, dataset)

    return make


def names(dataset, field, ids):
    return [str(dataset.id2token(field, int(number))) for number in ids if number != 0]


def pairs(dataset, part):
    columns = [names(dataset, field, part.inter_feat[field]) for field in ("user_id", "item_id")]
    return list(zip(*columns, strict=True))


def samples(dataset, part):
    """By user, the inputs and the target of each sample."""
    found = {}
    for row in range(len(part)):
        sample = part.inter_feat[row]
        (user,) = names(dataset, "user_id", [sample["user_id"]])
        inputs = names(dataset, "item_id", sample["item_id_list"])
        found.setdefault(user, []).append((inputs, *names(dataset, "item_id", [sample["item_id"]])))
    return found


def test_rows_of_a_model_that_knows_users_by_id(loaders_of):
    dataset, loaders = loaders_of("BPR")
    train, valid, test = (pairs(dataset, loader._dataset) for loader in loaders)
    assert sorted(train) == [
        ("a", "p1"), ("a", "p2"), ("a", "p3"), ("b", "p2"), ("b", "p3"), ("c", "p4"), ("e", "p1"), ("f", "p3")
    ]  # fmt: skip
    assert dict(valid) == VALID and len(valid) == 4
    assert dict(test) == TEST and len(test) == 4


def test_samples_of_a_sequential_model(loaders_of):
    dataset, loaders = loaders_of("SASRec")
    train, valid, test = (samples(dataset, loader._dataset) for loader in loaders)
    assert train == {"a": [(["p1"], "p2"), (["p1", "p2"], "p3")], "b": [(["p2"], "p3")]}
    assert valid == {
        "a": [(["p1", "p2", "p3"], "p4")],
        "b": [(["p2", "p3"], "p1")],
        "e": [(["p1"], "p3")],
        "f": [(["p3"], "p2")],
    }
    assert test == {
        "a": [(["p1", "p2", "p3", "p4"], "n1")],
        "b": [(["p2", "p3", "p1"], "n2")],
        "c": [(["p4"], "n1")],
        "f": [(["p3", "p2"], "n3")],
    }


def test_whole_sequences_train_on_what_the_others_do(loaders_of):
    dataset, loaders = loaders_of("SASRecID")
    train, valid, test = (samples(dataset, loader._dataset) for loader in loaders)
    assert train == {"a": [(["p1", "p2"], "p3")], "b": [(["p2"], "p3")]}
    assert {user: target for user, [(_, target)] in valid.items()} == VALID
    assert {user: target for user, [(_, target)] in test.items()} == TEST


@pytest.mark.parametrize("model", [*OF_USERS, *OF_SEQUENCES])
def test_all_items_are_ranked_and_what_a_user_has_seen_is_masked(model, loaders_of):
    dataset, (_, _, test) = loaders_of(model)
    assert set(map(str, dataset.field2id_token["item_id"][1:])) == {item for _, item, _ in ROWS}
    found = {}
    for batch, (seen_row, seen_item), row, item in test:
        for place, user in enumerate(names(dataset, "user_id", batch["user_id"])):
            assert names(dataset, "item_id", item[row == place]) == [TEST[user]]
            found[user] = sorted(names(dataset, "item_id", seen_item[seen_row == place]))
            assert int(batch[HISTORY_LENGTH][place]) == len(SEEN[user])
    assert found == SEEN


@pytest.mark.parametrize("model", [*OF_USERS, *OF_SEQUENCES])
def test_no_cold_item_is_counted_in_training(model, loaders_of):
    dataset, (train, _, _) = loaders_of(model)
    assert sorted(names(dataset, "item_id", dataset.is_cold.nonzero()[:, 0])) == ["n1", "n2", "n3", "n4"]
    counts = training_counts(train._dataset)
    assert counts[dataset.is_cold].sum() == 0 and counts.sum() > 0


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("BPR", {}),
        ("BPR", {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 3, "alpha": 0.5}}),
        ("DSSM", {}),
        ("LightGCNID", {}),
        ("MMGCNID", {}),
        ("DSSMID", {}),
        ("NFMID", {}),
        ("YouTubeID", {}),
        ("SASRec", {"loss_type": "BPR"}),
        ("FPMC", {}),
        ("SASRecID", {}),
        ("NARMID", {}),
        ("NARMID", {"loss_type": "BPR"}),
        ("BERT4RecID", {}),
    ],
)
def test_no_cold_item_is_in_a_training_batch(model, more, loaders_of):
    dataset, (train, _, _) = loaders_of(model, **more)
    item_fields = {"item_id", "item_id_list", "neg_item_id", "Mask_item_id_list", "Pos_item_id"}
    cold, seen = set(dataset.is_cold.nonzero()[:, 0].tolist()), set()
    for _ in range(20):
        for batch in train:
            for field in item_fields & set(batch.interaction):
                seen.update(batch[field].flatten().tolist())
            if hasattr(batch, "media"):
                seen.update(batch.media.item_ids.tolist())
    assert len(seen - {0}) >= 3 and not seen & cold


def test_the_latest_before_the_cut_and_the_target_are_kept(loaders_of):
    dataset, (_, _, test) = loaders_of("SASRec", max_user_interactions=4)
    assert samples(dataset, test._dataset)["a"] == [(["p2", "p3", "p4"], "n1")]
    assert set(map(str, dataset.field2id_token["item_id"][1:])) == {item for _, item, _ in ROWS}


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_an_item_that_a_dropped_user_saw_before_the_cut_is_not_cold(model, write_inter):
    data_path = write_inter("short", [*ROWS, ("g", "n1", 9.5)])
    config = Config(model, "short", config_dict=SETTINGS | {"data_path": str(data_path)})
    dataset = create_dataset(config)
    _, _, test = prepare_data(config, dataset)
    cold = names(dataset, "item_id", dataset.is_cold.nonzero()[:, 0])
    assert sorted(cold) == ["n2", "n3", "n4"]  # g has one interaction
    assert dict(pairs(dataset, test._dataset)) == {"a": "n2", "b": "n2", "f": "n3"}


@pytest.mark.parametrize("model", ["BPR", "SASRecID"])
def test_a_converted_release_is_cut_at_its_real_times(model, tmp_path, loaders_of):
    release = tmp_path / "release"
    release.mkdir()
    number = {name: place for place, name in enumerate(sorted({n for row in ROWS for n in row[:2]}), 1)}
    lines = [f"{number[u]},{number[i]},{1_583_378_629_552 + t}" for u, i, t in reversed(ROWS)]
    (release / "MicroLens-9k_pairs.csv").write_text("\n".join(["user,item,timestamp", *lines]) + "\n")
    convert(release, "nine", tmp_path / "atomic")
    config = Config(model, "nine", config_dict=SETTINGS | {"data_path": str(tmp_path / "atomic")})
    dataset = create_dataset(config)
    _, _, test = prepare_data(config, dataset)
    assert dict(pairs(dataset, test._dataset)) == {str(number[u]): str(number[i]) for u, i in TEST.items()}
    assert set(dataset_fingerprint(config)) == {"inter", "item", "time"}
    usual = Config(model, "nine", config_dict={"data_path": str(tmp_path / "atomic"), "use_gpu": False})
    assert set(dataset_fingerprint(usual)) == {"inter", "item"}


def test_the_log_says_what_the_cut_leaves(loaders_of, caplog):
    with caplog.at_level(logging.INFO):
        loaders_of("BPR")
    assert (
        "`cold_cut`: 0.57: the cut is at 10: 4 of 8 items are cold; 8 interactions to train on, 4 users to "
        "validate and 4 to test" in caplog.text
    )


@pytest.mark.parametrize("model", ["Pop", "SASRecID"])
@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (0.99, "0 of 8 items are cold; .* and 0 to test. Lower `cold_cut`"),
        (0.04, "0 users to validate and . to test. To train and validate takes .* Raise `cold_cut`"),
    ],
)
def test_a_cut_that_leaves_nothing_is_an_error_with_the_numbers(model, cut, message, loaders_of):
    with pytest.raises(MicroLensError, match=message):
        loaders_of(model, cold_cut=cut)


def test_without_sequences_to_train_on_a_sequential_model_says_so(write_inter):
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "v", 5), ("b", "y", 3), ("b", "x", 4), ("b", "w", 6)]
    data_path = str(write_inter("two", rows))
    config = Config("SASRec", "two", config_dict=SETTINGS | {"data_path": data_path, "cold_cut": 0.6})
    with pytest.raises(MicroLensError, match="no user has a sequence to train on"):
        create_dataset(config).build()


def test_positions_without_times_are_an_error(write_inter):
    data_path = write_inter("places", [(user, f"i{k}", k) for user in "uvw" for k in range(6)])
    with pytest.raises(MicroLensError, match=r"needs to know when .* no places\.time beside it"):
        create_dataset(Config("BPR", "places", config_dict=SETTINGS | {"data_path": str(data_path)}))


def test_the_usual_protocol_draws_what_it_drew(write_inter):
    """Negatives of other protocols are RecBole's, draw for draw: nothing is held out there."""
    config = Config(
        "BPR", "usual", config_dict={"data_path": str(write_inter("usual", ROWS)), "use_gpu": False}
        | {"user_inter_num_interval": "[2,inf)", "topk": [3], "valid_metric": "Hit@3"}
    )  # fmt: skip
    train = prepare_data(config, create_dataset(config))[0]
    assert train._sampler.known is None
    np.random.seed(1)
    drawn = train._sampler._uni_sampling(50)
    np.random.seed(1)
    assert np.array_equal(drawn, np.random.randint(1, 9, 50)) and torch.is_tensor(
        train._dataset.inter_feat["item_id"]
    )
