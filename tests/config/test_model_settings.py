"""What a model's name and its property files settle: sizes, modalities, encoders, losses."""

from pathlib import Path

import pytest
import yaml

from recbole_microlens.config import Config, known_keys, properties_folder
from recbole_microlens.errors import MicroLensError


def config(model="SASRecV", dataset="any", files=None, **settings):
    return Config(model, dataset, files, {"use_gpu": False} | settings)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


PAPER = yaml.safe_load((Path(__file__).parents[1] / "golden" / "table_5.yaml").read_text())


@pytest.mark.parametrize("model", PAPER)
def test_models_of_the_paper_have_the_values_of_its_table(model):
    settings, row = config(model), PAPER[model]
    width = "hidden_size" if settings["embedding_size"] is None else "embedding_size"
    assert settings[width] == row["embedding"]
    assert settings["learning_rate"] == row["lr"]
    assert settings["train_batch_size"] == row["batch"]
    assert settings["weight_decay"] == row["weight_decay"]
    assert settings["learner"] == "adamw"
    dropouts = [settings[key] for key in ("dropout_prob", "hidden_dropout_prob", "attn_dropout_prob")]
    # RecBole's NextItNet has no dropout.
    assert {value for value in dropouts if value is not None} <= {row["dropout"]}
    blocks = [settings[key] for key in ("n_layers", "num_layers", "block_num")]
    assert [value for value in blocks if value is not None] == [row["blocks"]]
    if "encoder_lr" in row:
        assert settings["encoder_learning_rate"] == row["encoder_lr"]
        assert (settings["finetune"], settings["finetune_stages"]) == ("top", row["top_blocks"])


STOCK = ["SASRec", "GRU4Rec", "NextItNet", "NARM", "BPR", "LightGCN", "DSSM", "NFM", "DeepFM", "DIN"]


@pytest.mark.parametrize("model", STOCK)
def test_a_name_without_a_suffix_keeps_recboles_own_settings_of_model_and_training(model):
    ours, own = config(model).as_given, config(model, protocol="recbole").as_given
    protocol = yaml.safe_load((properties_folder() / "overall.yaml").read_text()).keys()
    differing = {key for key in ours.keys() | own.keys() if ours.get(key) != own.get(key)}
    assert differing <= protocol | {"protocol"}
    assert (ours["epochs"], ours["stopping_step"], ours["learner"]) == (300, 10, "adam")
    assert (ours["learning_rate"], ours["weight_decay"], ours["train_batch_size"]) == (1e-3, 0.0, 2048)
    assert ours["valid_metric"] == "Hit@10" and ours["eval_args"]["split"] == {"LS": "valid_and_test"}


@pytest.mark.parametrize("model", STOCK)
def test_on_the_sample_only_a_stock_models_batch_is_smaller(model):
    sample, other = config(model, "microlens-sample").as_given, config(model).as_given
    assert {key for key in other if sample[key] != other[key]} == {"dataset", "train_batch_size"}
    assert sample["train_batch_size"] == 128


def test_popularity_is_counted_in_batches_of_one_everywhere():
    assert config("Pop")["train_batch_size"] == config("Pop", "microlens-sample")["train_batch_size"] == 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("SASRecV", {"hidden_size"}),
        ("NextItNetV", {"embedding_size"}),
        ("GRU4RecV", {"hidden_size", "embedding_size"}),
        ("NARMID", {"hidden_size", "embedding_size"}),
        ("STAMPID", {"embedding_size"}),
    ],
)
@pytest.mark.parametrize("word", ["hidden_size", "embedding_size"])
def test_either_word_is_the_width_that_the_backbone_reads(model, words, word, tmp_path):
    def widths(settings):
        return {key: settings[key] for key in ("hidden_size", "embedding_size") if settings[key] is not None}

    assert widths(config(model, **{word: 24})) == dict.fromkeys(words, 24)
    assert widths(config(model, "microlens-sample")) == dict.fromkeys(words, 64)
    saved = write(tmp_path / "c.yaml", yaml.safe_dump(config(model).as_given))
    again = Config(config_file_list=[saved], config_dict={"use_gpu": False, word: 24})
    assert widths(again) == dict.fromkeys(words, 24)


def test_gru4rec_may_have_two_widths_and_others_not():
    both = config("GRU4RecV", hidden_size=8, embedding_size=12)
    assert (both["hidden_size"], both["embedding_size"]) == (8, 12)
    for model in ("SASRecV", "NextItNetV"):
        with pytest.raises(MicroLensError, match="8 and 12 are given, but .* has one width"):
            config(model, hidden_size=8, embedding_size=12)


def test_item_modality_follows_from_the_name():
    assert config("SASRecIDT")["item_modality"] == ["id", "text"]
    assert config("CORE")["item_modality"] is None
    assert config("SASRecM")["item_modality"] == ["text", "image", "video"]
    assert config("SASRecM", item_modality="[text, image]")["item_modality"] == ["text", "image"]
    assert config("SASRecV", item_modality="video")["item_modality"] == ["video"]


@pytest.mark.parametrize(
    ("model", "named", "right"),
    [
        ("SASRecV", "[text]", "SASRecT"),
        ("SASRecV", "[video, id]", "SASRecIDV"),
        ("SASRecV", "[text, video]", "SASRecM"),
        ("NARMID", "image", "NARMI"),
        ("SASRecM", "[id, text]", "SASRecIDT"),
        ("SASRecIDM", "[video, text]", "SASRecM"),
    ],
)
def test_item_modality_that_contradicts_the_name_is_an_error_with_the_right_name(model, named, right):
    with pytest.raises(MicroLensError, match=f"contradicts the name {model}, .* or set --model={right}"):
        config(model, item_modality=named)


def test_models_without_a_file_have_that_of_their_backbones_video_model():
    assert config("SASRecT")["hidden_size"] == 512
    assert config("NextItNetM")["block_num"] == 2
    assert config("SASRecIDT")["hidden_size"] == 2048
    assert config("GRU4RecIDV")["embedding_size"] == 512
    assert config("NARMV")["hidden_size"] == 128


def test_features_beside_ids_are_frozen_unless_asked():
    assert config("SASRecIDV")["finetune"] == config("NARMIDM")["finetune"] == "frozen"
    assert config("SASRecIDV", finetune="top")["finetune"] == "top"
    assert config("SASRecID")["finetune"] == config("SASRecM")["finetune"] == "top"


def test_an_encoder_brings_its_settings_below_everything_that_is_given(tmp_path):
    assert config()["finetune_stages"] == 1
    assert config(encoder="r3d_18")["finetune_stages"] == 2
    assert config(video_encoder="r3d_18")["finetune_stages"] == 2
    assert config(encoder="r3d_18", finetune_stages=3)["finetune_stages"] == 3
    path = write(tmp_path / "a.yaml", "encoder: r3d_18\nfinetune_stages: 4\n")
    assert config(files=[path])["finetune_stages"] == 4
    assert config(encoder="r3d_18", dataset="microlens-sample")["finetune_stages"] == 1
    assert config(encoder="r3d_18", finetune="full")["finetune"] == "full"


def test_an_encoder_of_several_brings_its_settings_for_its_modality_alone():
    several = config("SASRecM", video_encoder="r3d_18")
    assert several["finetune_stages"] == {"text": 1, "image": 1, "video": 2}
    assert config("SASRecM")["finetune_stages"] == 1
    with pytest.raises(MicroLensError, match="finetune_stages: 0 is not a whole number"):
        config("SASRecM", finetune_stages="{text: 0, image: 1, video: 1}")


def test_settings_of_content_for_a_stock_model_are_an_error_and_in_a_file_a_warning(tmp_path, caplog):
    with pytest.raises(MicroLensError, match="encoder: SASRec does not use this; .* --model=SASRecV"):
        config("SASRec", encoder="x3d_xs")
    with pytest.raises(MicroLensError, match="encoder, frame_size: BPR does not use this"):
        config("BPR", encoder="x3d_xs", frame_size=64)
    shared = write(tmp_path / "a.yaml", "encoder: x3d_xs\nitem_modality: video\n")
    assert config("GRU4Rec", files=[shared])["item_modality"] is None
    assert (
        "encoder, item_modality: GRU4Rec does not use this; a content model such as GRU4RecV does"
        in caplog.text
    )


def test_negatives_are_there_only_for_a_pairwise_loss():
    for model in ("SASRecV", "NARMV", "SINEV", "BERT4RecID"):
        assert config(model)["train_neg_sample_args"]["distribution"] == "none"
    for settings in (config("TransRecV"), config("NARMV", loss_type="BPR")):
        assert settings["train_neg_sample_args"]["distribution"] == "uniform"


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("SASRecV", {"loss_type": "BPR"}, "loss_type: BPR is given, but SASRecV is trained with"),
        ("NextItNetID", {"reg_weight": 0.1}, "Set `weight_decay` instead"),
        ("NARMV", {"loss_type": "BPR", "train_neg_sample_args": {"dynamic": True}}, "`dynamic` scores"),
    ],
)
def test_losses_that_a_content_model_does_not_have_are_errors(model, settings, message):
    with pytest.raises(MicroLensError, match=message):
        config(model, **settings)


def test_the_sample_keeps_every_model_with_a_file_small():
    for path in (properties_folder() / "model").glob("*.yaml"):
        settings = config(path.stem, "microlens-sample")
        widths = [settings[key] for key in ("hidden_size", "embedding_size") if settings[key] is not None]
        assert max([0, *widths]) <= 128
        assert settings["train_batch_size"] <= 128


def test_keys_of_all_property_files_are_known():
    assert {"encoder", "frame_size", "mask_history", "hidden_size", "epochs", "data_path"} <= known_keys()
    assert "item_modality" in known_keys()


def test_on_the_sample_the_models_by_id_and_by_video_differ_in_their_items_alone():
    by_id, by_video = (config(model, "microlens-sample").as_given for model in ("SASRecID", "SASRecV"))
    differing = {key for key in by_id.keys() | by_video.keys() if by_id.get(key) != by_video.get(key)}
    assert differing == {"model", "item_modality"}
    assert (by_id["hidden_size"], by_id["train_batch_size"], by_id["learning_rate"]) == (64, 20, 2e-3)
