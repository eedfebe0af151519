"""Settings: which file wins, what a value means, and what a misspelt word is answered with."""

import os

import pytest
import torch
import yaml

from recbole_microlens import compat
from recbole_microlens.config import Config, properties_folder
from recbole_microlens.config.text import read_value
from recbole_microlens.errors import MicroLensError


def config(model="SASRecV", dataset="any", files=None, **settings):
    return Config(model, dataset, files, {"use_gpu": False} | settings)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_protocol_is_the_default_of_our_models_and_of_stock_ones():
    for model in ("SASRecV", "SASRec", "BPR"):
        settings = config(model)
        assert settings["eval_args"]["split"] == {"LS": "valid_and_test"}
        assert (settings["max_user_interactions"], settings["MAX_ITEM_LIST_LENGTH"]) == (13, 10)
        assert settings["mask_history"] is True
        assert settings["topk"] == [10, 20]
        assert settings["user_inter_num_interval"] == "[5,inf)"


def test_content_models_have_the_hyper_parameters_of_the_paper():
    settings = config()
    assert (settings["learning_rate"], settings["encoder_learning_rate"]) == (1e-4, 1e-4)
    assert (settings["weight_decay"], settings["encoder_weight_decay"]) == (0.1, 0.0)
    assert (settings["hidden_size"], settings["train_batch_size"]) == (512, 120)
    assert settings["clip_grad_norm"] == {"max_norm": 5.0}
    assert settings["hidden_dropout_prob"] == 0.1


def test_later_wins(tmp_path):
    first = write(tmp_path / "a.yaml", "epochs: 3\nhidden_size: 8\nn_heads: 4\nlearning_rate: 1e-2\n")
    second = write(tmp_path / "b.yaml", "epochs: 4\nhidden_size: 12\n")
    settings = config(files=[first, second], epochs="5")
    assert (settings["epochs"], settings["hidden_size"], settings["n_heads"]) == (5, 12, 4)
    assert settings["learning_rate"] == 0.01


def test_dataset_file_has_parts_for_single_models():
    assert config("SASRecV", "microlens-sample")["video_encoder"] == "efficientnet_lite0"
    assert config("SASRec", "microlens-sample")["encoder"] is None
    assert config("SASRec", "microlens-sample")["learning_rate"] == 0.001
    assert config("SASRec", "microlens-sample")["train_batch_size"] == 128
    assert config("Pop", "microlens-sample")["train_batch_size"] == 1
    assert config("SASRecV", "microlens-sample")["train_batch_size"] == 20


def test_recbole_protocol_is_recboles_own_settings():
    """Every setting that our protocol changes is what RecBole has without us."""
    ours = yaml.safe_load((properties_folder() / "overall.yaml").read_text())
    own = yaml.safe_load((properties_folder() / "recbole.yaml").read_text())
    for model, expected in (("BPR", "RO"), ("SASRec", "TO")):
        settings = config(model, protocol="recbole")
        stock = yaml.safe_load((compat.recbole_folder() / "properties" / "overall.yaml").read_text())
        for key in set(ours) & set(stock) - {"eval_args", *own}:
            assert settings[key] == stock[key], key
        assert settings["eval_args"]["order"] == expected
        assert settings["max_user_interactions"] is None
        assert settings["mask_history"] is False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("[10, 20]", [10, 20]),
        ("[text, image]", ["text", "image"]),
        ("{video: x3d_xs, text: bert_small}", {"video": "x3d_xs", "text": "bert_small"}),
        ("[a, !!python/object/apply:os.getcwd []]", "[a, !!python/object/apply:os.getcwd []]"),
        ("{'LS': 'valid_only'}", {"LS": "valid_only"}),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("x3d_xs", "x3d_xs"),
        ("weights/a-b.pth", "weights/a-b.pth"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
    ],
)
def test_command_line_values_are_literals_and_never_run(text, value):
    assert read_value("key", text) == value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: config(frame_sise=64), "no setting 'frame_sise'. Did you mean 'frame_size'"),
        (lambda: config(hiden_size=64), "Did you mean 'hidden_size'"),
        (lambda: config("SASRekV"), "no model 'SASRekV'. Did you mean 'SASRecV'"),
        (lambda: config("GRU4Rex"), "Did you mean 'GRU4Rec'"),
        (lambda: Config(None, "any"), "No model is given"),
        (lambda: Config("SASRec", None), "No dataset is given"),
        (lambda: config(precision="fp64"), "Set one of: fp32, bf16, fp16"),
        (lambda: config(protocol="paper"), "Set one of: microlens, recbole"),
        (lambda: config(save_dataset=True), "save_dataset: not supported"),
        (lambda: config(missing_media="zero"), "Did you mean 'zeros'"),
        (lambda: config(item_modality="cover"), "Set one or more of: id, text, image, video"),
        (lambda: config(encoder_output="haed"), "encoder_output: 'haed' is unknown. Did you mean 'head'"),
        (lambda: config(encoder_pooling={"video": "sum"}), "'sum' is unknown.* Set one of: cls, mean"),
        (lambda: config(finetune_stages=0), "finetune_stages: 0 is not a whole number of at least 1"),
        (lambda: config(projection_activation="relu"), "'relu' is unknown.* Set one of: gelu, linear"),
        (lambda: config(projection_group={"video": "other"}), "'other' is unknown. Did you mean 'others'"),
        (lambda: config(projection_dropout=1), "projection_dropout: 1 leaves nothing"),
        (lambda: config(normalisation="imagenet"), "Set one of: weights, released"),
        (lambda: config(finetune_embeddings="yes"), "'yes' is neither true nor false"),
        (lambda: config(freeze_bn_statistics="no"), "'no' is neither true nor false"),
        (lambda: config(num_frames=2.0), "num_frames: 2.0 is not a whole number of at least 1"),
        (lambda: config(epochs="abc"), "epochs: 'abc' is not a whole number"),
        (lambda: config(learning_rate="abc"), "learning_rate: 'abc' is not a number of at least 0"),
        (lambda: config(max_user_interactions=1), "whole number of at least 3"),
        (lambda: config(clip_grad_norm=5), "clip_grad_norm: 5 is no"),
        (
            lambda: config(topk=20),
            "valid_metric: Hit@10 is not computed. Write METRIC@K with one of Hit, NDCG at one of 20",
        ),
        (lambda: config(valid_metric="MRR@10"), "valid_metric: MRR@10 is not computed"),
        (lambda: config(files=["missing.yaml"]), "cannot read missing.yaml"),
    ],
)
def test_wrong_settings_are_named(call, message):
    with pytest.raises(MicroLensError, match=message.replace("(", r"\(")):
        call()


@pytest.mark.parametrize("text", ["a: [1", "- a\n- b\n", "a: !!python/object/apply:os.getcwd []"])
def test_a_file_that_is_no_settings_is_an_error(tmp_path, text):
    with pytest.raises(MicroLensError, match="bad.yaml"):
        config(files=[write(tmp_path / "bad.yaml", text)])


def test_part_of_eval_args_leaves_the_rest_of_the_protocol():
    assert config("SASRec", eval_args={"mode": "uni100"})["eval_args"] == {
        "split": {"LS": "valid_and_test"},
        "order": "TO",
        "group_by": "user",
        "mode": {"valid": "uni100", "test": "uni100"},
    }


def test_stock_cross_entropy_models_train_without_negatives_unless_asked():
    assert config("SASRec")["train_neg_sample_args"]["distribution"] == "none"
    assert config("BPR")["train_neg_sample_args"]["distribution"] == "uniform"
    assert config("FM")["train_neg_sample_args"]["distribution"] == "uniform"
    assert config("SASRec", loss_type="BPR")["train_neg_sample_args"]["distribution"] == "uniform"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_only_when_asked_for():
    assert Config("SASRec", "any")["device"].type == "cpu"
    with pytest.raises(MicroLensError, match="gpu_id: 3 .* torch sees 0 .* --use_gpu=false"):
        Config("SASRec", "any", config_dict={"gpu_id": "3"})


def test_settings_as_given_repeat_the_run(tmp_path):
    first = config(epochs=7, encoder="r3d_18")
    again = Config(config_file_list=[write(tmp_path / "c.yaml", yaml.safe_dump(first.as_given))])
    assert again.as_given == first.as_given
    assert (again["model"], again["dataset"], again["data_path"]) == ("SASRecV", "any", "dataset_atomic/any")


@pytest.mark.parametrize(("visible", "used"), [("3,5", "3"), ("-1", "-1"), ("", "0")])
def test_a_gpu_that_the_environment_names_is_the_one_used(visible, used, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Config("SASRec", "any")["gpu_id"] == used
    assert os.environ["CUDA_VISIBLE_DEVICES"] == used
