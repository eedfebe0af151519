"""The schema of settings: every key is in it, every property file fits it, a wrong value is one sentence."""

import math

import pytest

from recbole_microlens import compat
from recbole_microlens.config import Config
from recbole_microlens.config.kinds_by_model import BY_MODEL
from recbole_microlens.config.property_files import (
    PAPER_TABLES,
    PROTOCOLS,
    hyperparameters,
    properties_folder,
)
from recbole_microlens.config.schema import (
    CONTENT,
    OURS,
    SCHEMA,
    SETTLED,
    check,
    content_keys,
    kind_of,
    known_keys,
)
from recbole_microlens.config.text import read_yaml
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models.backbones import grid_names
from recbole_microlens.models.baselines import BASELINES

STOCK = sorted(compat.recbole_model_names())
TREES = {"lightgbm", "xgboost"}  # Their libraries are no requirement.


def config(model="SASRecV", dataset="any", files=None, **settings):
    return Config(model, dataset, files, {"use_gpu": False} | settings)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# A value for each way in which one can be wrong; no setting takes them all.
WRONG = {
    "a word": "abc",
    "empty": "",
    "a blank": " ",
    "negative": -1,
    "large": 2**33,
    "five thousand digits": 10**5000,
    "digits as text": "9" * 5000,
    "a fraction": 1.5,
    "no number": math.nan,
    "infinite": math.inf,
    "true": True,
    "null": None,
    "an empty list": [],
    "a list": [1.5],
    "a list of words": ["a"],
    "an empty dict": {},
    "a dict": {"a": 1},
    "a dict of numbers": {1: 2},
    "a set": {1},
    "bytes": b"a",
    "a complex number": 1j,
    "NUL": "a\0b",
    "a control character": "\x1b[31m",
    "long": "x" * 5000,
    "nested": nested(3000),
}


def test_every_key_that_a_run_may_be_given_is_in_the_schema_with_its_meaning():
    assert known_keys() == SCHEMA.keys() | SETTLED.keys()
    assert all(setting.kind.says and setting.meaning for setting in SCHEMA.values())
    assert not SCHEMA.keys() & SETTLED.keys()
    unread = {key for model, kinds in BY_MODEL.items() for key in kinds if key not in hyperparameters(model)}
    assert not unread


def test_content_models_alone_read_what_stands_in_their_file_and_recbole_does_not_know():
    in_file = read_yaml(properties_folder() / "content.yaml").keys() | {"item_modality"}
    assert content_keys() == in_file - compat.recbole_config_keys()
    assert all(SCHEMA[key].readers == CONTENT for key in content_keys())


def settings_of(path, names):
    """The settings of a file, and those of its sections, with the model that they are for."""
    found = read_yaml(path)
    yield path.stem, {key: value for key, value in found.items() if key not in names}
    for name in found.keys() & names:
        yield name, found[name]


@pytest.mark.parametrize("folder", [properties_folder(), compat.recbole_folder() / "properties"])
def test_every_property_file_passes_the_check(folder):
    names = {"content", "baselines", "stock", *PROTOCOLS} | BASELINES.keys() | grid_names()
    names |= compat.recbole_model_names()
    files = [path for path in folder.rglob("*.yaml") if not path.stem.endswith("url")]
    files = [path for path in files if path.name != PAPER_TABLES]
    assert len(files) > 30
    for path in files:
        for model, settings in settings_of(path, names):
            backbone = next((name for name in STOCK if model.startswith(name)), None)
            check(
                settings, model if model in {*STOCK, *BASELINES} else backbone, dict.fromkeys(settings, path)
            )


@pytest.mark.parametrize("model", ["SASRecV", "GRU4RecIDM", "HGNT", "SHANID", "BPR", "SGL", "DIN", "CDAE"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_defaults_pass(model, protocol):
    assert config(model, protocol=protocol)["model"] == model


@pytest.mark.slow
def test_the_defaults_of_every_model_pass():
    for model in sorted((compat.recbole_model_names() | grid_names()) - TREES):
        assert config(model)["model"] == model
        if model in grid_names():
            assert config(model, preset="published")["preset"] == "published"


@pytest.mark.parametrize("key", SCHEMA)
def test_a_value_is_right_or_one_sentence_says_what_is_wrong(key):
    refused = 0
    for value in WRONG.values():
        try:
            check({key: value})
        except MicroLensError as error:
            refused += 1
            text = str(error)
            assert text.startswith(f"{key}: ") and text.isprintable() and len(text) < 600, text
            assert text.endswith("."), text
    assert refused >= len(WRONG) // 2


@pytest.mark.slow
@pytest.mark.parametrize("key", SCHEMA)
def test_so_does_the_configuration(key):
    readers = [m for m in STOCK if key in hyperparameters(m) and m not in TREES]
    reader = "SASRecV" if key in OURS else next(iter(readers), "BPR")
    for value in WRONG.values():
        model, dataset = (None if key == "model" else reader), (None if key == "dataset" else "any")
        try:
            Config(model, dataset, None, {"use_gpu": False} | {key: value})
        except MicroLensError as error:
            text = str(error)
            assert key in text and "RecBole refuses" not in text and text.isprintable(), text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_from": {"a": 1}}, "init_from: {'a': 1} is not the folder of a run"),
        ({"checkpoint_dir": -1}, "checkpoint_dir: -1 is not a folder"),
        ({"train_neg_sample_args": "abc"}, "train_neg_sample_args: 'abc' is not a dict. Set e.g."),
        (
            {"train_neg_sample_args": {"sample_nums": 1}},
            "'sample_nums' is not an entry of it. Did you mean 'sample_num'",
        ),
        ({"train_neg_sample_args": {"sample_num": 0}}, "train_neg_sample_args: sample_num: 0 is not"),
        ({"seed": 2**33}, "seed: 8589934592 is not a whole number of at least 0 and at most 4294967295"),
        ({"seed": "9" * 5000}, "seed: '999"),
        ({"topk": [1.5]}, "topk: [1.5]: 1.5 is not a whole number of at least 1"),
        ({"topk": []}, "topk: [] is too short"),
        ({"topk": 0}, "topk: 0 is not a whole number of at least 1"),
        ({"n_layers": 0}, "n_layers: 0 is not a whole number of at least 1"),
        ({"hidden_dropout_prob": math.nan}, "hidden_dropout_prob: nan is not a finite number"),
        ({"hidden_dropout_prob": 1}, "hidden_dropout_prob: 1 leaves nothing"),
        ({"learning_rate": "1e999"}, "learning_rate: inf is not a finite number"),
        ({"clip_grad_norm": {"max_norm": "a"}}, "clip_grad_norm: max_norm: 'a' is not a number above 0"),
        ({"clip_grad_norm": {"max_norm": 1, "norm": 2}}, "clip_grad_norm: 'norm' is not an entry of it"),
        ({"clip_grad_norm": {}}, "clip_grad_norm: {} has no max_norm"),
        ({"state": [1]}, "state: '[1]' is unknown. Set one of: debug, info"),
        ({"state": "handlers"}, "state: 'handlers' is unknown"),
        ({"metric_decimal_place": "abc"}, "metric_decimal_place: 'abc' is not a whole number"),
        ({"loss_decimal_place": "abc"}, "loss_decimal_place: 'abc' is not a whole number"),
        ({"user_inter_num_interval": "abc"}, "user_inter_num_interval: 'abc' is not an interval"),
        ({"user_inter_num_interval": "[5,3]"}, "user_inter_num_interval: '[5,3]' is not an interval"),
        ({"user_inter_num_interval": "[1,nan)"}, "user_inter_num_interval: '[1,nan)' is not an interval"),
        ({"user_inter_num_interval": (5, 9)}, "user_inter_num_interval: (5, 9) is not an interval"),
        (
            {"item_inter_num_interval": "[1,2];[5,6]"},
            "item_inter_num_interval: '[1,2];[5,6]' is more than one",
        ),
        ({"val_interval": {"timestamp": "5"}}, "val_interval: 'timestamp': '5' is not an interval"),
        ({"val_interval": {"rating": "[1,5]"}}, "val_interval: 'rating' is not loaded. Add it to `load_col`"),
        (
            {"filter_inter_by_user_or_item": "abc"},
            "filter_inter_by_user_or_item: 'abc' is neither true nor false",
        ),
        ({"rm_dup_inter": False}, "rm_dup_inter: 'False' is unknown. Set one of: first, last"),
        ({"mask_history": "abc"}, "mask_history: 'abc' is neither true nor false"),
        ({"learner": "abc"}, "learner: 'abc' is unknown. Set one of: adam, adamw"),
        ({"learner": "sparse_adam"}, "learner: sparse_adam is for sparse gradients"),
        ({"gpu_id": "abc"}, "gpu_id: 'abc' is not a list of CUDA devices"),
        ({"metrics": ["Hit", "NDGC"]}, "metrics: 'NDGC' is unknown. Did you mean 'NDCG'"),
        ({"metrics": []}, "metrics: [] is not a list of metrics"),
        ({"metrics": ["Hit", "AUC"]}, "metrics: AUC looks at scores, Hit at ranks"),
        ({"metrics": "AUC", "valid_metric": "AUC"}, "metrics: AUC needs negatives to compare with"),
        ({"valid_metric": "Hit"}, "valid_metric: Hit is not computed"),
        ({"eval_args": {"order": "RO"}}, "eval_args: SASRecV learns from sequences"),
        ({"eval_args": {"order": "to"}}, "eval_args: order: 'to' is unknown. Did you mean 'TO'"),
        ({"eval_args": {"mode": "uni"}}, "eval_args: mode: 'uni' is not"),
        ({"eval_args": {"mode": {"valid": "full", "tset": "full"}}}, "eval_args: "),
        ({"eval_args": {"group_by": "abc"}}, "eval_args: group_by: 'abc' is unknown"),
        (
            {"eval_args": {"split": {"RS": [0.8, 0.2]}}},
            "eval_args: split: RS: [0.8, 0.2] has 2 values. Give 3.",
        ),
        (
            {"eval_args": {"split": {"RS": [0, 1, 1]}}},
            "eval_args: split: RS: [0, 1, 1] leaves nothing to train on",
        ),
        ({"eval_args": {"split": {"LS": "valid"}}}, "eval_args: split: LS: 'valid' is unknown"),
        (
            {"eval_args": {"groups": "user"}},
            "eval_args: 'groups' is not an entry of it. Did you mean 'group_by'",
        ),
        ({"repeatable": False}, "repeatable: SASRecV may recommend an item again"),
        ({"n_heads": 3}, "n_heads: 3 heads cannot share a `hidden_size` of 512 evenly"),
        ({"load_col": {"inter": ["user_id"]}}, "load_col: 'item_id', which is `ITEM_ID_FIELD`, is missing"),
        ({"load_col": {"inter": "user_id"}}, "load_col: 'inter': 'user_id' is not one of *"),
        ({"unload_col": {"inter": ["timestamp"]}}, "unload_col: `load_col` already lists"),
        ({"ITEM_ID_FIELD": "user_id"}, "ITEM_ID_FIELD: 'user_id' is `USER_ID_FIELD` already"),
        ({"train_neg_sample_args": {"alpha": 300}}, "train_neg_sample_args: alpha: 300 is not"),
        ({"worker": 10**6}, "worker: 1000000 is not a whole number of at least 0 and at most 1024"),
        ({"nproc": 2, "seed": 2**32 - 1}, "seed: 4294967295 leaves none for 2 processes"),
        ({"enable_amp": True}, "enable_amp: SASRecV reads `precision`"),
        (
            {"precision": {"video": "fp16"}},
            "precision: \"{'video': 'fp16'}\"|precision: '{'video': 'fp16'}' is unknown",
        ),
        ({"item_modality": 5}, "item_modality: 5 is not a list of"),
        ({"protocol": ["recbole"]}, "protocol: '['recbole']' is unknown"),
        ({"preset": {"a": 1}}, "preset: "),
        ({"device": "cpu"}, "device: RecBole settles it by itself"),
        ({"local_rank": 0}, "local_rank: RecBole settles it by itself"),
        ({"config_files": "a.yaml"}, "config_files: it is an option of the command line"),
        ({"transform": "abc"}, "transform: 'abc' is unknown. Set one of: mask_itemseq"),
        ({"transform": "crop_itemseq"}, "transform: crop_itemseq needs `eta`"),
        ({"encoder": "x" * 300}, "encoder: 'xxx"),
        ({"data_path": "a/" + "b" * 300}, "longer than a path may be"),
        ({"log_wandb": "yes"}, "log_wandb: 'yes' is neither true nor false"),
        ({"epochs": nested(3000)}, "epochs: [[[["),
    ],
)
def test_wrong_values_are_named(settings, message):
    with pytest.raises(MicroLensError) as error:
        config(**settings)
    assert any(part in str(error.value) for part in message.split("|"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("HGN", {"reg_weight": 0.1}, "reg_weight: 0.1 is not a list of 2 values"),
        ("BPR", {"reg_weight": [0.1, 0.1]}, "reg_weight: [0.1, 0.1] is not a number"),
        ("SGL", {"type": "inner"}, "type: 'inner' is unknown. Set one of: ED, ND, RW"),
        ("KD_DAGFM", {"teacher": "__import__('os').getcwd"}, "is unknown. Set one of: CrossNet, CIN, DAGFM"),
        ("KD_DAGFM", {"phase": "distillation"}, "warm_up: '' is not a file"),
        ("S3Rec", {"train_stage": "finetune"}, "pre_model_path: '' is not a file"),
        ("FEARec", {"n_layers": 1}, "n_layers: 1 is not a whole number of at least 2"),
        ("FEARec", {"contrast": "us"}, "contrast: it needs `tau` too"),
        ("DGCF", {"n_factors": 5}, "n_factors: 5 does not divide `embedding_size`, 64"),
        ("DMF", {"user_hidden_size_list": [64, 32]}, "must end in one width"),
        ("CORE", {"n_heads": 3}, "n_heads: 3 heads cannot share a `embedding_size` of 64"),
        ("AutoInt", {"num_heads": 3}, "num_heads: 3 heads cannot share a `attention_size` of 16"),
        ("SASRecCPR", {"n_facet": 2}, "n_facet_all: 5 is not the sum"),
        ("BERT4Rec", {"transform": None}, "transform: None is given, but BERT4Rec reads mask_itemseq"),
        ("SHAN", {"short_item_length": 11}, "short_item_length: 11 items are more than a sequence has"),
        ("ConvNCF", {"cnn_kernels": [4]}, "cnn_channels: 5 do not fit 1 `cnn_kernels`"),
        ("ConvNCF", {"embedding_size": 7}, "embedding_size: 7 is too small for `cnn_kernels`"),
        ("AsymKNN", {"q": 0.5}, "q: 0.5 is not a whole number"),
        (
            "BERT4RecV",
            {"mask_ratio": 0.05},
            "mask_ratio: 0.05 of `MAX_ITEM_LIST_LENGTH`, 10, is less than",
        ),
        ("EASE", {"reg_weight": 0}, "reg_weight: 0 is not a number above 0"),
        ("MultiVAE", {"latent_dimension": 7}, "latent_dimension: 7 is odd"),
        ("NNCF", {"neigh_num": 7}, "neigh_num: 7 neighbours are too few"),
        ("xDeepFM", {"cin_layer_size": [100, 7]}, "cin_layer_size: [100, 7] has an odd size"),
        ("BPR", {"eval_args": {"mode": "labeled"}}, "metrics: Hit, NDCG looks at ranks, which mode labeled"),
        ("BPR", {"transform": "mask_itemseq", "mask_ratio": 0.5}, "transform: mask_itemseq is for sequences"),
        ("BPR", {"train_neg_sample_args": {"distribution": None}}, "but no negatives are drawn"),
        (
            "BPR",
            {"train_neg_sample_args": {"alpha": "none"}},
            "train_neg_sample_args: alpha: none is not a number",
        ),
        (
            "SASRecV",
            {"train_neg_sample_args": {}},
            "train_neg_sample_args: SASRecV is trained with a cross-entropy",
        ),
        ("BPR", {"threshold": {"timestamp": 3}}, "threshold: 'timestamp' becomes labels and is gone"),
        ("BPR", {"alias_of_user_id": ["item_id"]}, "alias_of_user_id: 'item_id' is numbered like items too"),
        ("BPR", {"unused_col": {"inter": ["item_id"]}}, "unused_col: 'item_id' is `ITEM_ID_FIELD`"),
        ("BPR", {"LABEL_FIELD": "user_id"}, "LABEL_FIELD: 'user_id' is `USER_ID_FIELD` already"),
        ("BPR", {"encoding": "base64"}, "encoding: 'base64' is not an encoding"),
        ("DiffRec", {"sampling_steps": 6}, "sampling_steps: 6 are more than `steps`, 5"),
        ("CDAE", {"loss_type": "CE"}, "loss_type: 'CE' is unknown. Did you mean 'BCE'|Set one of: BCE, MSE"),
        ("NeuMF", {"mlp_hidden_size": []}, "mlp_hidden_size: [] is too short"),
        ("FM", {"numerical_features": ["age"]}, "numerical_features: 'age' is not loaded"),
    ],
)
def test_what_a_model_cannot_take_is_named(model, settings, message):
    with pytest.raises(MicroLensError) as error:
        config(model, **settings)
    assert any(part in str(error.value) for part in message.split("|")), error.value


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("SASRecV", {"user_inter_num_interval": "(-inf, inf)", "item_inter_num_interval": [2, 9]}),
        ("SASRecV", {"val_interval": {"timestamp": "[1,5];(7,inf)", "user_id": ["u1"]}}),
        ("SASRecV", {"clip_grad_norm": {"max_norm": 1, "norm_type": "inf", "error_if_nonfinite": False}}),
        (
            "SASRecV",
            {"finetune": {"video": "frozen"}, "finetune_stages": "blocks.4", "activation_cache": "off"},
        ),
        ("SASRecV", {"gpu_id": "0,1"}),
        ("SASRecV", {"gpu_id": (0, 1)}),
        ("SASRec", {"eval_args": {"mode": {"valid": "uni10", "test": "full"}}, "topk": (10,)}),
        ("NeuMF", {"metrics": "AUC", "valid_metric": "auc", "eval_args": {"mode": "uni10"}}),
        ("GRU4RecCPR", {"reranker_CAN_NUM": "10,5", "n_facet_all": 6}),
        ("HGNV", {"reg_weight": [0.1, 0]}),
        ("FFM", {"fields": {0: ["user_id"], 1: ["item_id"]}}),
        ("BPR", {"load_col": None, "numerical_features": ["age"]}),
    ],
)
def test_values_that_recbole_takes_pass(model, settings):
    taken = config(model, **settings)
    assert taken["model"] == model and all(key in taken for key in settings)


def test_a_key_means_to_one_model_what_it_means_to_no_other():
    assert kind_of("reg_weight", "SHAN") is not kind_of("reg_weight", "BPR")
    assert kind_of("a_key_of_my_own_model") is None


@pytest.mark.parametrize("model", ["FISM", "NAIS", "FOSSIL"])
def test_a_power_is_a_float(model):
    assert type(config(model, alpha=1)["alpha"]) is float


def test_the_file_of_a_wrong_value_is_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("epochs: 3\nlearner: abc\n")
    with pytest.raises(MicroLensError, match=r"learner: 'abc' is unknown.* \(in .*mine.yaml\)"):
        config(files=[str(path)])
    assert config(files=[str(path)], learner="sgd")["learner"] == "sgd"


def test_mixed_precision_of_recbole_in_a_file_is_told_from_ours(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("enable_amp: true\n")
    with pytest.raises(MicroLensError, match="enable_amp: SASRecV reads `precision`"):
        config(files=[str(path)])


@pytest.mark.parametrize("key", ["embedding_size", "hidden_size"])
def test_a_width_is_refused_under_the_name_that_was_written(key):
    with pytest.raises(MicroLensError, match=f"^{key}: "):
        config("SASRecID", **{key: [-1]})
