"""A run from a sequence store has the numbers, samples and batches of a run from ``.inter``."""

import random
import shutil

import numpy as np
import pytest
import torch
from store_of_atomic import write_store

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.data.stored_dataset import StoredDataset, StoredTable
from recbole_microlens.errors import MicroLensError
from recbole_microlens.evaluation.groups import training_counts
from recbole_microlens.training.preparation import prepare_data

LATEST = {"max_user_interactions": 6, "MAX_ITEM_LIST_LENGTH": 3}


def rows_of(users=40, items=30, longest=20, seed=1):
    """Rows (user, item, position) of users with 1 to ``longest`` interactions, as ``convert`` has them."""
    rng = random.Random(seed)
    for user in range(users):
        for place in range(rng.randint(1, longest)):
            yield f"u{user:03}", f"i{min(rng.randrange(items), rng.randrange(items))}", place + 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A ``data_path`` with the dataset ``log``: ``.inter`` and the store; ``log13`` with the latest 13."""
    out = tmp_path_factory.mktemp("stored")
    for name, latest in (("log", None), ("log13", 13)):
        (out / name).mkdir()
        lines = ["user_id:token\titem_id:token\ttimestamp:float"]
        lines += ["\t".join(map(str, row)) for row in rows_of()]
        (out / name / f"{name}.inter").write_text("\n".join(lines) + "\n")
        write_store(out, name, latest)
    return out


def parts_of(data, model, name, interactions, **settings):
    quiet = {"data_path": str(data), "use_gpu": False, "show_progress": False, "worker": 0}
    config = Config(model, name, config_dict=quiet | {"interactions": interactions} | settings)
    dataset = create_dataset(config)
    text = str(dataset)
    parts = dataset.build()
    loaders = prepare_data(config, dataset, parts)
    return config, dataset, parts, loaders, text


def same(one, other):
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if hasattr(one, "interaction"):
        names = list(one.interaction)
        return names == list(other.interaction) and all(same(one[name], other[name]) for name in names)
    return one == other


def first_batches(loaders, epochs=1):
    torch.manual_seed(3)
    np.random.seed(3)
    for loader in loaders:
        for _ in range(epochs):
            yield from loader


CASES = {
    "whole sequences": ("SASRecID", "log", {}),
    "whole sequences, short": ("SASRecID", "log", LATEST),
    "whole sequences, all": ("SASRecID", "log", {"max_user_interactions": None, "MAX_ITEM_LIST_LENGTH": 4}),
    "last position": ("NARMID", "log", LATEST),
    "stock": ("SASRec", "log", LATEST),
    "stock, pairs": ("FPMC", "log", LATEST),
    "frequent items": ("SASRecID", "log", {"min_item_interactions": 12, **LATEST}),
    "frequent items, stock": ("GRU4Rec", "log", {"min_item_interactions": 12}),
    "some users": ("SASRec", "log", {"user_inter_num_interval": "[2,9)", **LATEST}),
    "one held out": ("SASRec", "log", {"eval_args": {"split": {"LS": "test_only"}}, "epochs": 1}),
    "no filter": ("SASRecID", "log", {"user_inter_num_interval": None}),
    "the latest": ("SASRecID", "log13", {}),
    "the latest, stock": ("SASRec", "log13", {"user_inter_num_interval": "[3,11]"}),
    "users drawn": ("SASRecID", "log", {"eval_users": 7, "test_users": 9}),
}


@pytest.mark.parametrize("case", CASES)
def test_samples_and_batches_are_those_of_the_atomic_files(data, case):
    model, name, settings = CASES[case]
    _, atomic, parts, loaders, text = parts_of(data, model, name, "atomic", **settings)
    _, stored, of_store, from_store, same_text = parts_of(data, model, name, "store", **settings)
    assert isinstance(stored, StoredDataset) and not isinstance(atomic, StoredDataset)
    assert text.splitlines()[1] == same_text.splitlines()[1]  # users
    for field in ("user_id", "item_id"):
        assert list(atomic.field2id_token[field]) == list(stored.field2id_token[field])
    for one, other in zip(parts, of_store, strict=True):
        assert len(one) == len(other)
        assert same(one.inter_feat, other.inter_feat)
    assert torch.equal(training_counts(parts[0]), training_counts(of_store[0]))
    assert parts[0].item_slots() == of_store[0].item_slots()
    assert torch.equal(parts[0].samples_with_item(), of_store[0].samples_with_item())
    batches, others = (list(first_batches(each, epochs=2)) for each in (loaders, from_store))
    assert len(batches) == len(others) and all(map(same, batches, others))
    assert len(loaders[0]._dataset) > 0


TABLES = {
    "general": ("BPR", {}),
    "popularity": ("Pop", {"epochs": 1}),
    "other items": ("NFMID", {}),
    "another split": ("BPR", {"eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO"}}),
    "items in an interval": ("SASRecID", {"item_inter_num_interval": "[4,inf)"}),
    "sampled ranking": ("SASRec", {"eval_args": {"mode": "uni5"}}),
}


@pytest.mark.parametrize("case", TABLES)
def test_what_needs_all_rows_reads_them_into_a_table(data, case):
    model, settings = TABLES[case]
    found = []
    for interactions in ("atomic", "store"):
        np.random.seed(3)
        torch.manual_seed(3)
        _, dataset, parts, loaders, _ = parts_of(data, model, "log", interactions, **settings)
        assert isinstance(dataset, StoredTable) == (interactions == "store")
        found.append((parts, list(first_batches(loaders))))
    (parts, batches), (of_store, others) = found
    assert all(same(one.inter_feat, other.inter_feat) for one, other in zip(parts, of_store, strict=True))
    assert len(batches) == len(others) and all(map(same, batches, others))


def test_users_are_named_and_found_by_name(data):
    _, stored, *_ = parts_of(data, "SASRec", "log", "store")
    _, atomic, *_ = parts_of(data, "SASRec", "log", "atomic")
    numbers = np.array([[1, 3], [2, 0]])
    assert stored.id2token("user_id", numbers).tolist() == atomic.id2token("user_id", numbers).tolist()
    assert stored.id2token("user_id", 2) == atomic.id2token("user_id", 2)
    names = [str(name) for name in atomic.field2id_token["user_id"]]
    assert stored.token2id("user_id", names).tolist() == list(range(len(names)))
    dropped = next(user for user, *_ in rows_of() if user not in names)
    for unknown in ("nobody", dropped):
        with pytest.raises(ValueError, match="is not existed"):
            stored.token2id("user_id", unknown)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("log", {"load_col": {"inter": ["user_id", "item_id", "timestamp", "rating"]}}, "load_col: rating"),
        ("log", {"val_interval": {"timestamp": "[0,5]"}}, "val_interval: .* holds ids and times alone"),
        ("log", {"protocol": "cold"}, "has no times"),
        ("log13", {"max_user_interactions": None}, "all of each user are asked for"),
        ("log13", {"max_user_interactions": 14}, "14 of each user are asked for"),
        ("log13", {"min_item_interactions": 2}, "all interactions of an item are counted"),
        ("log", {"user_inter_num_interval": "[30,inf)"}, "40 of 40 users .* which is all"),
        ("log", {"min_item_interactions": 1000}, "are dropped, which is all"),
    ],
)
def test_what_a_store_cannot_answer_is_said(data, name, settings, said):
    with pytest.raises(MicroLensError, match=said):
        parts_of(data, "SASRecID", name, "store", **settings)


def test_the_atomic_files_come_first_and_the_store_in_their_absence(data, tmp_path):
    _, dataset, *_ = parts_of(data, "SASRec", "log", "auto")
    assert not isinstance(dataset, StoredDataset)
    shutil.copytree(data / "log", tmp_path / "log", ignore=shutil.ignore_patterns("*.inter"))
    _, dataset, *_ = parts_of(tmp_path, "SASRec", "log", "auto")
    assert isinstance(dataset, StoredDataset)
    with pytest.raises(MicroLensError, match="there is no sequence store"):
        shutil.rmtree(tmp_path / "log" / "log.sequences")
        parts_of(tmp_path, "SASRec", "log", "store")
