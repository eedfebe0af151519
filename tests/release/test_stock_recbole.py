"""Converted files come out right in RecBole as it is, without anything of ours in between."""

import random

import numpy as np
import pandas as pd
import pytest
from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from recbole_microlens.release.atomic import convert

USERS, LENGTH, START_MS = 60, 10, 1_583_378_629_552
REMOVED_ALIASES = {
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "object": object,
    "str": str,
    "long": int,
    "unicode": str,
    "float_": np.float64,
    "complex_": np.complex128,
    "object_": np.object_,
    "unicode_": np.str_,
    "bool8": np.bool_,
}


@pytest.fixture
def stock_config(monkeypatch, tmp_path):
    """Return a function dataset folder, name -> stock Config that reads it; runs on NumPy 2 too."""
    for alias, kind in REMOVED_ALIASES.items():
        if alias not in vars(np):
            monkeypatch.setattr(np, alias, kind, raising=False)
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.chdir(tmp_path)

    def config(out, name, item_columns=None):
        columns = {"inter": ["user_id", "item_id", "timestamp"]}
        return Config(
            model="SASRec",
            dataset=name,
            config_dict={
                "data_path": str(out),
                "load_col": columns | ({"item": item_columns} if item_columns else {}),
                "train_neg_sample_args": None,
                "use_gpu": False,
                "state": "ERROR",
            },
        )

    return config


def sequences(ties: bool) -> dict[str, list[tuple[str, int]]]:
    """Return user -> (item, ms) from old to new: 1 ms apart, or all at one time."""
    rng = random.Random(7)
    return {
        str(user): [
            (str(item), START_MS + (0 if ties else place))
            for place, item in enumerate(rng.sample(range(1, 200), LENGTH))
        ]
        for user in range(1, USERS + 1)
    }


def shuffled_pairs(history: dict[str, list[tuple[str, int]]], keep_user_order: bool) -> str:
    """Return CSV rows in random order; ``keep_user_order`` leaves each user's own rows in theirs."""
    rng = random.Random(3)
    turns = [user for user in history for _ in range(LENGTH)]
    rng.shuffle(turns)
    waiting = {
        user: iter(rows if keep_user_order else rng.sample(rows, LENGTH)) for user, rows in history.items()
    }
    rows = [(user, *next(waiting[user])) for user in turns]
    return "user,item,timestamp\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows)


def histories_and_targets(config) -> dict[str, tuple[list[str], str]]:
    """Return user -> (history, target) of the test set, in ids of the release."""
    dataset = create_dataset(config)
    test = data_preparation(config, dataset)[2].dataset.inter_feat
    found = {}
    for user, history, length, target in zip(
        test["user_id"], test["item_id_list"], test["item_length"], test["item_id"], strict=True
    ):
        items = dataset.id2token("item_id", history[:length].numpy()).tolist()
        found[dataset.id2token("user_id", user.item())] = (
            items,
            dataset.id2token("item_id", target.item()),
        )
    return found


@pytest.mark.parametrize("ties", [False, True], ids=["1 ms apart", "tied times in file order"])
def test_stock_recbole_sees_every_history_and_test_target_in_order(
    make_release, tmp_path, stock_config, ties
):
    history = sequences(ties)
    pairs = shuffled_pairs(history, keep_user_order=ties)
    convert(make_release({"MicroLens-100k_pairs.csv": pairs}), "ordered", tmp_path / "atomic")
    found = histories_and_targets(stock_config(tmp_path / "atomic", "ordered"))
    expected = {
        user: ([item for item, _ in rows[:-1]], rows[-1][0]) for user, rows in history.items()
    }  # the whole history but the last item, which is the target
    assert found == expected


TITLES = {
    "1": 'he said "go", twice',
    "2": '"open at the start',
    "3": "NA",
    "4": "null",
    "5": "nan",
    "6": "",
    "7": "tab\tand\nline",
    "8": "今天 吃什么",
    "9": '5" disk',
    "10": '"quoted"',
    "11": "\u3000wide\u2028spaces\x00and controls\ufeff",
    "12": "'single' , commas, -1.5",
    "13": '"',
}


@pytest.fixture
def titled_dataset(make_release, tmp_path):
    pairs = "".join(f"{user},{item},{item}\n" for user in range(1, 5) for item in range(1, 15))
    quoted = {item: title.replace('"', '""') for item, title in TITLES.items()}
    titles = "item,title\n" + "".join(f'{item},"{title}"\n' for item, title in quoted.items())
    folder = make_release(
        {
            "MicroLens-100k_pairs.csv": pairs,
            "MicroLens-100k_title_en.csv": titles,
            "MicroLens-100k_likes_and_views.txt": "1\t5\t100\n2\t7\t200\n",
            "tags_to_summary.csv": '1,Food & Drink\n2,NA\n3,"a ""b"""\n',
        }
    )
    convert(folder, "titled", tmp_path / "atomic")
    return tmp_path / "atomic"


@pytest.mark.skipif(pd.__version__ >= "3", reason="stock RecBole 1.2.1 reads no sequences under pandas 3")
def test_stock_recbole_reads_every_title_word_by_word(titled_dataset, stock_config):
    columns = ["item_id", "title", "tag", "likes", "views"]
    dataset = create_dataset(stock_config(titled_dataset, "titled", columns))
    found = {
        dataset.id2token("item_id", int(item)): dataset.id2token("title", words).tolist()
        for item, words in zip(dataset.item_feat["item_id"], dataset.item_feat["title"], strict=True)
        if item
    }
    found = {item: [word for word in words if word != "[PAD]"] for item, words in found.items()}
    words = {
        item: title.replace("\x00", " ").replace("\ufeff", " ").split() for item, title in TITLES.items()
    }
    assert found == words | {"14": []}


def test_stock_recbole_reads_ids_with_quotes_and_commas(make_release, tmp_path, stock_config):
    odd = ['a"b', '"q"', "it's", "a,b", "a b", "ü", '"', 'x""y', '"start', 'end"', "#1", "a\\b"]
    fields = ['"' + item.replace('"', '""') + '"' for item in odd]
    pairs = "".join(f"{user},{item},{k}\n" for user in fields for k, item in enumerate(fields))
    convert(make_release({"MicroLens-100k_pairs.csv": pairs}), "odd", tmp_path / "atomic")
    dataset = create_dataset(stock_config(tmp_path / "atomic", "odd", ["item_id"]))
    for field in ("item_id", "user_id"):
        assert sorted(dataset.field2id_token[field][1:]) == sorted(odd)


def test_stock_recbole_reads_tags_likes_and_views(titled_dataset, stock_config):
    columns = ["item_id", "tag", "likes", "views"]
    dataset = create_dataset(stock_config(titled_dataset, "titled", columns))
    place = {token: dataset.token2id("item_id", token) for token in ("1", "2", "3")}
    tags = {token: dataset.id2token("tag", int(dataset.item_feat["tag"][at])) for token, at in place.items()}
    assert tags == {"1": "Food & Drink", "2": "NA ", "3": 'a "b"'}
    assert [float(dataset.item_feat["views"][place[token]]) for token in ("1", "2")] == [100, 200]
