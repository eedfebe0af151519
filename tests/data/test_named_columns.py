"""Columns that settings name and the data have not, or of another type, are told before the data are read."""

import pytest

from recbole_microlens import cli
from recbole_microlens.quick_start import run

ALL = {"load_col": "~"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"load_col": {"inter": ["user_id", "item_id", "timestamp", "rating"]}},
            "tiny.inter has no column 'rating'. It has user_id, item_id, timestamp.",
        ),
        (
            {"load_col": {"inter": ["user_id", "item_id", "timestamp"], "user": ["user_id"]}},
            "load_col: there is no ",
        ),
        ({"val_interval": {"user_id": "[1,5]"}}, "val_interval: 'user_id' is a column of words"),
        ({"val_interval": {"timestamp": ["2"]}}, "val_interval: 'timestamp' is a column of numbers"),
        ({"unused_col": {"inter": ["ratings"]}}, "tiny.inter has no column 'ratings'"),
        (ALL | {"normalize_field": ["title"]}, "normalize_field: 'title' is a column of type token_seq"),
        (ALL | {"numerical_features": ["viewz"]}, "a column 'viewz'. Did you mean 'views'"),
        ({"alias_of_item_id": ["timestamp"]}, "alias_of_item_id: 'timestamp' is a column of type float"),
        ({"additional_feat_suffix": "more"}, "additional_feat_suffix: there is no "),
        ({"benchmark_filename": ["a", "b", "c"]}, "tiny.a.inter. Add the file"),
        ({"encoding": "utf-16"}, "is not in utf-16"),
        (
            ALL | {"metrics": "AUC", "valid_metric": "AUC", "eval_args": {"mode": "labeled"}},
            "eval_args: mode labeled compares items by their labels",
        ),
    ],
)
def test_a_column_that_is_not_there_is_named_before_anything_is_read(
    settings, message, tmp_path, tiny_data, capsys
):
    given = {"data_path": tiny_data, "checkpoint_dir": tmp_path / "runs", "use_gpu": False} | settings
    argv = ["run", "--model=BPR", "--dataset=tiny", *(f"--{key}={value}" for key, value in given.items())]
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("BPR", {"metrics": ["ItemCoverage", "Hit"], "valid_metric": "ItemCoverage@10"}),
        ("SASRec", {"eval_args": {"split": {"LS": "test_only"}}}),
        ("BPR", {"val_interval": {"timestamp": "[2,inf)"}, "user_inter_num_interval": None}),
        ("BPR", {"val_interval": {"user_id": ["1", "2", "3"]}, "topk": 2, "valid_metric": "Hit@2"}),
        ("BPR", {"load_col": None, "normalize_field": ["likes"], "unload_col": {"item": ["title"]}}),
    ],
)
def test_what_fits_trains(model, given, settings):
    result = run(model, "tiny", None, settings | {"epochs": 1} | given)
    assert result["test_result"]


@pytest.mark.parametrize("model", ["BPR", "SASRec"])
def test_a_split_that_leaves_nothing_to_test_on_trains(model, settings):
    split = {"eval_args": {"split": {"LS": "valid_only"}}}
    result = run(model, "tiny", None, settings | {"epochs": 1} | split)
    assert result["test_result"] == {} and result["best_valid_result"]
