"""What ``protocol: cold`` takes, refuses, and says of itself."""

import pytest

from recbole_microlens import cli
from recbole_microlens.config import Config
from recbole_microlens.errors import MicroLensError


def config(model="SASRecV", dataset="any", **settings):
    return Config(model, dataset, None, {"use_gpu": False, "protocol": "cold"} | settings)


@pytest.mark.parametrize("model", ["SASRecV", "SASRec", "BPR", "Pop", "DSSMID"])
def test_all_else_is_as_under_the_usual_protocol(model):
    cold, usual = config(model).as_given, config(model, protocol="microlens").as_given
    assert cold.pop("cold_cut") == 0.9
    assert cold == usual | {"protocol": "cold"}


def test_a_dataset_may_have_a_cut_of_its_own_which_no_other_protocol_reads():
    assert config(dataset="microlens-sample")["cold_cut"] == 0.77
    assert config(dataset="microlens-sample", cold_cut=0.5)["cold_cut"] == 0.5
    assert config(dataset="microlens-sample", protocol="microlens")["cold_cut"] is None
    assert config("BPR", dataset="microlens-sample", protocol="recbole")["cold_cut"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cold_cut": 0}, "cold_cut: 0 is not a number above 0 and below 1"),
        ({"cold_cut": 1.0}, "cold_cut: 1.0 is not a number above 0 and below 1"),
        ({"cold_cut": "soon"}, "cold_cut: 'soon' is not a number"),
        ({"protocol": "microlens", "cold_cut": 0.8}, "cold_cut: 0.8 is read under --protocol=cold alone"),
        ({"eval_args": {"split": {"RS": [8, 1, 1]}}}, "its split is by time, and it ranks all items"),
        ({"eval_args": {"split": {"LS": "valid_only"}}}, "its split is by time"),
        ({"model": "BPR", "eval_args": {"order": "RO"}}, "its split is by time"),
        ({"model": "BPR", "eval_args": {"mode": "uni100"}}, "it ranks all items"),
        ({"model": "BPR", "eval_args": {"mode": {"valid": "uni100", "test": "full"}}}, "it ranks all items"),
        ({"benchmark_filename": ["train", "valid", "test"]}, "benchmark_filename: .* splits .* by itself"),
        ({"model": "DIEN"}, "DIEN draws sequences of negative items among all"),
        ({"model": "S3Rec"}, "S3Rec draws negative items among all"),
        ({"model": "BERT4Rec", "loss_type": "BPR"}, "BERT4Rec draws a negative item for each mask"),
        ({"model": "BERT4RecID", "loss_type": "BPR"}, "BERT4Rec draws a negative item for each mask"),
    ],
)
def test_what_does_not_fit_is_named(settings, message):
    with pytest.raises(MicroLensError, match=message):
        config(**settings)


def test_the_config_command_says_where_the_cut_comes_from(capsys):
    asked = ["config", "--model=SASRecV", "--protocol=cold"]
    assert cli.main([*asked, "--dataset=any"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith("cold_cut:"))
    assert line.split() == ["cold_cut:", "0.9", "#", "protocol,", "properties/cold.yaml:2"]
    assert cli.main([*asked, "--dataset=microlens-sample"]) == 0
    (line,) = (each for each in capsys.readouterr().out.splitlines() if each.startswith("cold_cut:"))
    assert "cold_cut: 0.77" in line and "dataset, properties/dataset/microlens-sample.yaml:6" in line
