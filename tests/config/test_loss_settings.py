"""Settings that a model cannot be trained with end in one sentence, before anything is read."""

import pytest
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_microlens import cli
from recbole_microlens.config import Config
from recbole_microlens.errors import MicroLensError

NO_NEGATIVES = {"train_neg_sample_args": "~"}


def refusal(model, given, capsys, dataset="absent", **more):
    argv = ["run", f"--model={model}", f"--dataset={dataset}"]
    code = cli.main(argv + [f"--{key}={value}" for key, value in (given | more).items()])
    captured = capsys.readouterr()
    assert code == 2 and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "FPMC", "TransRec", "SimpleX", "KGAT", "TransRecV"])
def test_a_pairwise_model_without_negatives_is_told_to_have_some(model, capsys):
    error = refusal(model, NO_NEGATIVES, capsys)
    assert f"train_neg_sample_args: {model} is trained on pairs of a positive and a negative item" in error
    assert "'sample_num': 1}" in error


@pytest.mark.parametrize("given", ["{'distribution': 'none'}", "{'sample_num': 'none'}", "None"])
def test_no_negatives_may_be_said_in_several_ways(given, capsys):
    assert "trained on pairs" in refusal("BPR", {"train_neg_sample_args": given}, capsys)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "SINE", "NARMV"])
def test_so_is_a_sequential_model_whose_loss_is_bpr(model, capsys):
    assert "trained on pairs" in refusal(model, NO_NEGATIVES | {"loss_type": "BPR"}, capsys)


@pytest.mark.parametrize("model", ["NeuMF", "DMF", "FM", "DeepFM", "DIN", "MKR"])
def test_a_model_on_labels_needs_negatives_or_labels(model, capsys):
    error = refusal(model, NO_NEGATIVES, capsys)
    assert f"{model} is trained on labels" in error and "`threshold`" in error and "`label`" in error


@pytest.mark.parametrize(("column", "labels"), [("rating", {"threshold": {"rating": 3}}), ("label", {})])
def test_labels_in_the_data_are_enough(column, labels):
    columns = {"inter": ["user_id", "item_id", "timestamp", column]}
    given = {"use_gpu": False, "train_neg_sample_args": None, "load_col": columns} | labels
    assert Config("NeuMF", "any", config_dict=given)["train_neg_sample_args"]["distribution"] == "none"


@pytest.mark.parametrize(
    "model", ["MultiVAE", "MacridVAE", "EASE", "Pop", "RepeatNet", "SINE", "SINEV", "SASRec"]
)
def test_models_that_read_no_negatives_go_without(model):
    given = {"use_gpu": False, "train_neg_sample_args": None}
    assert Config(model, "any", config_dict=given)["train_neg_sample_args"]["distribution"] == "none"


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("SASRec", {"loss_type": "bpr"}, "loss_type: SASRec has no loss 'bpr'. Set BPR or CE."),
        ("NARMV", {"loss_type": "XX"}, "loss_type: NARMV has no loss 'XX'. Set BPR or CE."),
        ("CORE", {"loss_type": "BPR"}, "loss_type: CORE has no loss 'BPR'. Set CE."),
        ("SASRecCPR", {"loss_type": "BPR"}, "loss_type: SASRecCPR has no loss 'BPR'. Set CE."),
        ("BPR", {"learner": "adamn"}, "learner: 'adamn' is unknown. Did you mean 'adam"),
        (
            "BPR",
            {"train_neg_sample_args": "5"},
            "train_neg_sample_args: 5 is not a dict. Set e.g. {'distribution'",
        ),
        ("BPR", {"train_neg_sample_args": "{'dynamic': True}"}, "Set `candidate_num` to 1 or more"),
        (
            "SASRec",
            {"train_neg_sample_args": "{'distribution': 'uniform'}"},
            "SASRec is trained with a cross-entropy, which draws no negatives",
        ),
    ],
)
def test_other_settings_of_the_loss_are_named(model, given, message, capsys):
    assert message in refusal(model, given, capsys)


def test_what_only_recboles_loader_or_model_notices_is_one_message_too(settings, capsys):
    dynamic = {"train_neg_sample_args": "{'dynamic': True, 'candidate_num': 2}"}
    error = refusal("CDAE", dynamic, capsys, dataset="tiny", **settings)
    assert "CDAE is trained on whole users and draws no negatives" in error
    error = refusal("GRU4RecCPR", {}, capsys, dataset="tiny", **settings)
    assert "GRU4RecCPR cannot be trained on tiny with these settings: RuntimeError: selected index k" in error


def test_a_lack_of_memory_while_training_keeps_its_own_advice(settings, monkeypatch, capsys):
    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr("recbole.model.general_recommender.bpr.BPR.calculate_loss", full)
    assert "error: Out of memory" in refusal("BPR", {}, capsys, dataset="tiny", **settings)


class Undecided(GeneralRecommender):
    """A class of one's own that does not say what it is trained on."""


def test_a_class_of_ones_own_says_what_it_is_trained_on():
    with pytest.raises(
        MicroLensError, match="loss_type: Undecided does not say what it is trained on. Set BPR"
    ):
        Config(Undecided, "any", config_dict={"use_gpu": False})
    assert Config(Undecided, "any", config_dict={"use_gpu": False, "loss_type": "BPR"})["loss_type"] == "BPR"


@pytest.mark.parametrize("none", ["{'distribution': 'none'}", "{'sample_num': 'None'}", "None", "null"])
def test_no_negatives_are_one_thing_however_they_are_written(none):
    config = Config("SASRec", "any", config_dict={"use_gpu": False, "train_neg_sample_args": none})
    assert config.as_given["train_neg_sample_args"] is None
    assert config["train_neg_sample_args"]["distribution"] == "none"


def test_learners_are_those_of_recbole():
    with pytest.raises(MicroLensError, match="Set one of: adam, adamw, sgd, adagrad, rmsprop, sparse_adam"):
        Config("BPR", "any", config_dict={"use_gpu": False, "learner": "x"})
    assert Config("BPR", "any", config_dict={"use_gpu": False, "learner": "Adam"})["learner"] == "Adam"
