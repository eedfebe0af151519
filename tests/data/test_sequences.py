"""Samples and splits by array operations are RecBole's own, field by field, type by type, row by row."""

import random

import numpy as np
import pytest
import torch
from recbole.data import dataset as recbole_datasets
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.utils import create_samplers as recbole_samplers

from recbole_microlens.compat.recbole import PandasThree
from recbole_microlens.config import Config
from recbole_microlens.data.dataset import HISTORY_LENGTH, create_dataset
from recbole_microlens.data.sequences import leave_one_out, stable_order
from recbole_microlens.training.preparation import prepare_data

COLUMNS = {
    "user_id:token": lambda rng: f"u{rng.randrange(9)}",
    "item_id:token": lambda rng: f"i{rng.randrange(12)}",
    "timestamp:float": lambda rng: rng.randrange(40),
    "rating:float": lambda rng: rng.randrange(1, 6) / 2,
    "device:token": lambda rng: rng.choice(["phone", "tablet", "tv"]),
    "tags:token_seq": lambda rng: " ".join(rng.choices("abcde", k=rng.randrange(1, 4))),
    "weights:float_seq": lambda rng: " ".join(str(rng.randrange(9) / 4) for _ in range(rng.randrange(1, 4))),
    "shop:token": lambda rng: f"s{rng.randrange(3)}",
}


@pytest.fixture
def write_columns(tmp_path):
    """Return a function rows -> ``data_path`` with the dataset ``mixed`` of all ``COLUMNS``."""

    def write(rows) -> str:
        folder = tmp_path / "mixed"
        folder.mkdir()
        lines = ["\t".join(COLUMNS), *("\t".join(map(str, row)) for row in rows)]
        (folder / "mixed.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(tmp_path)

    return write


def random_rows(seed=0, **fixed):
    """120 rows in no order: sequences beyond the window, equal times, and a user with one interaction."""
    rng = random.Random(seed)
    rows = [[fixed.get(name.split(":")[0], make)(rng) for name, make in COLUMNS.items()] for _ in range(120)]
    rows.append(["alone", *rows[0][1:]])
    rng.shuffle(rows)
    return rows


def config_of(data_path, model="GRU4Rec", **more):
    settings = {
        "data_path": data_path,
        "load_col": {"inter": [name.split(":")[0] for name in COLUMNS]},
        "use_gpu": False,
        "show_progress": False,
        "user_inter_num_interval": None,
        "max_user_interactions": None,
        "MAX_ITEM_LIST_LENGTH": 5,
        "train_neg_sample_args": None,
    }
    return Config(model, "mixed", config_dict=settings | more)


def recbole_parts(config, base=recbole_datasets.SequentialDataset):
    """RecBole's dataset as it is, and its three parts."""
    dataset = type("Stock", (PandasThree, base), {})(config)
    return dataset, dataset.build()


def assert_same(ours, theirs, without=()):
    fields = [field for field in ours.columns if field not in without]
    assert fields == [field for field in theirs.columns if field in fields]
    for field in fields:
        assert ours[field].dtype == theirs[field].dtype, field
        assert torch.equal(ours[field], theirs[field]), field
    assert len(ours) == len(theirs)


def assert_same_parts(config):
    _, expected = recbole_parts(config)
    parts = create_dataset(config).build()
    for ours, theirs in zip(parts, expected, strict=True):
        assert set(ours.inter_feat.columns) - set(theirs.inter_feat.columns) == {HISTORY_LENGTH}
        assert set(theirs.inter_feat.columns) <= set(ours.inter_feat.columns)
        assert_same(ours.inter_feat, theirs.inter_feat, without=[HISTORY_LENGTH])
        assert ours.field2type == theirs.field2type
        assert ours.field2seqlen == theirs.field2seqlen
    return parts


SPLITS = [{"LS": mode} for mode in ("valid_and_test", "valid_only", "test_only")] + [
    {"RS": [0.6, 0.2, 0.2]},
    {"TS": [0.6, 0.2, 0.2]},
]


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_samples_of_all_columns_are_recboles(write_columns, split):
    train, *_ = assert_same_parts(config_of(write_columns(random_rows()), eval_args={"split": split}))
    assert train.inter_feat["tags_list"].shape[1:] == (5, 3)


@pytest.mark.parametrize(
    "settings",
    [
        {"MAX_ITEM_LIST_LENGTH": 1},
        {"MAX_ITEM_LIST_LENGTH": 50},
        {"alias_of_item_id": ["shop"]},
        {"unused_col": {"inter": ["timestamp", "device_list"]}},
        {"LIST_SUFFIX": "_seq", "ITEM_LIST_LENGTH_FIELD": "length"},
        {"numerical_features": ["rating"]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_samples_are_recboles_under_other_settings(write_columns, settings):
    assert_same_parts(config_of(write_columns(random_rows(1)), **settings))


@pytest.mark.parametrize(
    "time",
    [lambda _: 7, lambda rng: rng.randrange(-20, 20), lambda rng: rng.random() * 1e-3],
    ids=["equal", "negative", "fractions"],
)
def test_samples_are_recboles_whatever_the_times(write_columns, time):
    assert_same_parts(config_of(write_columns(random_rows(2, timestamp=time))))


def test_users_with_one_interaction_give_no_sample(write_columns):
    rows = [[f"u{k}", *row[1:]] for k, row in enumerate(random_rows()[:8])]
    parts = assert_same_parts(config_of(write_columns(rows)))
    assert [len(part) for part in parts] == [0, 0, 0]


def test_the_dataset_itself_keeps_targets_without_sequences(write_columns):
    config = config_of(write_columns(random_rows()))
    stock, _ = recbole_parts(config)
    dataset = create_dataset(config)
    dataset.build()
    assert "item_id_list" not in dataset.inter_feat
    assert_same(dataset.inter_feat, stock.inter_feat, without=[HISTORY_LENGTH])


def test_a_dataset_that_makes_its_own_samples_still_does_and_says_so(write_columns, caplog):
    config = config_of(
        write_columns(random_rows()), model="DIEN", train_neg_sample_args={"distribution": "uniform"}
    )
    np.random.seed(0)
    _, expected = recbole_parts(config, recbole_datasets.DIENDataset)
    np.random.seed(0)
    for ours, theirs in zip(create_dataset(config).build(), expected, strict=True):
        assert_same(ours.inter_feat, theirs.inter_feat, without=[HISTORY_LENGTH])
    assert "makes its samples in its own way" in caplog.text


def test_whole_sequences_are_recboles_last_training_samples(content_settings):
    config = Config("SASRecV", "tiny", config_dict=content_settings | {"max_user_interactions": None})
    _, (train, valid, test) = recbole_parts(config)
    is_last = torch.cat([train["user_id"][1:] != train["user_id"][:-1], torch.tensor([True])])
    ours = create_dataset(config).build()
    assert_same(ours[0].inter_feat, train.inter_feat[is_last.nonzero()[:, 0]], without=[HISTORY_LENGTH])
    assert_same(ours[1].inter_feat, valid.inter_feat, without=[HISTORY_LENGTH])
    assert_same(ours[2].inter_feat, test.inter_feat, without=[HISTORY_LENGTH])


@pytest.mark.parametrize("repeatable", [False, True])
@pytest.mark.parametrize("distribution", ["uniform", "popularity"])
@pytest.mark.parametrize("mode", ["full", "uni5"])
def test_negatives_are_recboles_draw_for_draw(write_columns, repeatable, distribution, mode):
    config = config_of(
        write_columns(random_rows()),
        model="BPR",
        repeatable=repeatable,
        train_neg_sample_args={"distribution": distribution, "sample_num": 2, "alpha": 0.7},
        eval_args={"mode": {"valid": mode, "test": mode}},
    )
    stock, parts = recbole_parts(config, recbole_datasets.Dataset)
    samplers = recbole_samplers(config, stock, parts)
    theirs = TrainDataLoader(config, parts[0], samplers[0], shuffle=True)
    ours, *held_out = prepare_data(config, create_dataset(config))
    if mode != "full":
        assert [loader._sampler.phase for loader in held_out] == ["valid", "test"]
    loaders = [(ours, theirs)]
    if mode != "full":
        loader = type(held_out[0])
        loaders += [
            (o, loader(config, p, s)) for o, p, s in zip(held_out, parts[1:], samplers[1:], strict=True)
        ]
    for our_loader, their_loader in loaders:
        batches = []
        for chosen in (our_loader, their_loader):
            np.random.seed(3)
            batches.append([batch[0] if isinstance(batch, tuple) else batch for batch in chosen])
        for our_batch, their_batch in zip(*batches, strict=True):
            assert_same(our_batch, their_batch)


def test_a_user_who_has_used_every_item_is_an_error(write_inter):
    rows = [("a", f"i{k}", k) for k in range(6)] + [("b", f"i{k}", k) for k in range(5)]
    settings = {"data_path": str(write_inter("all", rows)), "use_gpu": False, "show_progress": False}
    config = Config("BPR", "all", config_dict=settings)
    with pytest.raises(ValueError, match="have interacted with all items"):
        prepare_data(config, create_dataset(config))


@pytest.mark.parametrize("repeatable", [False, True])
def test_ranking_of_users_leaves_out_and_looks_for_what_recboles_does(write_columns, repeatable):
    config = config_of(write_columns(random_rows()), model="Pop", repeatable=repeatable)
    stock, parts = recbole_parts(config, recbole_datasets.Dataset)
    samplers = recbole_samplers(config, stock, parts)
    _, *ours = prepare_data(config, create_dataset(config))
    for loader, part, sampler in zip(ours, parts[1:], samplers[1:], strict=True):
        expected = {}
        for batch in FullSortEvalDataLoader(config, part, sampler):
            expected |= by_user(batch)
        assert {user: pairs for batch in loader for user, pairs in by_user(batch).items()} == expected


def by_user(batch):
    """{user: (items left out, positives)} of a batch for ranking."""
    interaction, (row, item), positive_row, positive_item = batch
    return {
        int(user): (set(item[row == b].tolist()), sorted(positive_item[positive_row == b].tolist()))
        for b, user in enumerate(interaction["user_id"])
    }


def test_leave_one_out_keeps_groups_in_order_of_appearance():
    groups = np.array([5, 3, 5, 5, 3, 9, 5])
    train, valid, test = leave_one_out(groups, 2)
    assert (train.tolist(), valid.tolist(), test.tolist()) == ([0, 2, 1, 5], [3], [6, 4])
    assert [rows.tolist() for rows in leave_one_out(np.empty(0, dtype=np.int64), 1)] == [[], []]


@pytest.mark.parametrize(
    "key",
    [
        np.array([3, 70_000, 3, 0, 1 << 20, 70_000]),
        np.array([1, -1, 1 << 40, -1]),
        np.array([0.5, 3e9, 0.5, 0.0, 1e-9], dtype=np.float32),
        np.array([0.0, -0.0, 1.0, -2.0, np.nan, 0.0], dtype=np.float32),
    ],
    ids=["ids", "any whole number", "times", "any float"],
)
def test_stable_order_is_that_of_numpy(key):
    assert stable_order([key]).tolist() == key.argsort(kind="stable").tolist()
