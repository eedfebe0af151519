"""``preset: published``: the settings of the released runs, below the user's own; a run uses them."""

from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from recbole_microlens.config import Config, wanted_processes
from recbole_microlens.encoders.registry import ENCODERS
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run

ROOT = Path(__file__).parents[2]
# Users of a process, as the released scripts name them.
USERS = {
    "mvit_base_16x4": 30, "mvit_base_32x3": 30, "r3d_18": 32, "c2d_r50": 45, "i3d_r50": 45, "csn_r101": 45,
    "slow_r50": 45, "videomae_base": 45, "r3d_r50": 70, "x3d_l": 90, "x3d_m": 110, "x3d_s": 110,
    "x3d_xs": 110, "slowfast_r50": 120, "slowfast_r101": 120,
}  # fmt: skip


def config(model="SASRecV", dataset="any", files=None, preset="published", **settings):
    return Config(model, dataset, files, {"use_gpu": False, "preset": preset} | settings)


@pytest.mark.parametrize(
    "encoder", [name for name, spec in ENCODERS.items() if spec.paper_name and spec.modality == "video"]
)
def test_each_video_encoder_has_the_released_batch_of_four_processes(encoder):
    settings = config(encoder=encoder)
    assert settings["train_batch_size"] == 4 * USERS[encoder]
    assert (settings["nproc"], settings["negatives"]) == (4, "local")
    assert settings["finetune_stages"] == (2 if encoder in ("r3d_18", "i3d_r50", "videomae_base") else 1)


def test_the_released_training_and_what_it_differs_in_from_ours():
    released, ours = config(), config(preset=None)
    differing = {key for key in ours.final_config_dict if released[key] != ours[key]}
    assert differing == {
        "preset", "encoder_output", "normalisation", "projection_group", "projection_dropout", "precision",
        "epochs", "stopping_step", "nproc", "train_batch_size", "negatives",
    }  # fmt: skip
    assert released["epochs"] == 50 and released["stopping_step"] >= 50
    assert released.as_given["encoder_output"] == "released"


def test_vit_mae_and_chinese_roberta_train_what_the_released_runs_trained():
    image = config("SASRecI", encoder="vit_mae_base")
    assert (image["finetune_stages"], image["finetune_embeddings"], image["train_batch_size"]) == (
        2,
        True,
        128,
    )
    text = config("SASRecT", encoder="chinese_roberta")
    assert (text["finetune_stages"], text["encoder_learning_rate"], text["train_batch_size"]) == (
        2,
        5e-5,
        1024,
    )
    assert config("SASRecT")["train_batch_size"] == config("SASRecT", preset=None)["train_batch_size"]


def test_id_and_video_takes_features_of_videomae_and_keeps_the_batch_of_the_paper():
    settings = config("SASRecIDV")
    assert (settings["video_encoder"], settings["finetune"]) == ("videomae_base", "frozen")
    assert (settings["projection_activation"], settings["projection_group"]) == ("linear", "others")
    assert (settings["train_batch_size"], settings["nproc"]) == (64, 1)
    assert settings["finetune_stages"] == 2


def test_several_modalities_are_concatenated_through_two_layers():
    settings = config("SASRecM", image_encoder="vit_mae_base")
    assert settings["fusion"] == "concat_two_layers"
    assert settings["finetune_embeddings"] == {"text": False, "image": True, "video": False}
    assert settings["train_batch_size"] == 120
    assert config("SASRecM", item_modality=["video"])["train_batch_size"] == 480


def test_the_datasets_file_is_below_the_preset_and_the_users_settings_are_above(tmp_path):
    (tmp_path / "mine.yaml").write_text("epochs: 3\nnormalisation: weights\n")
    files = [str(tmp_path / "mine.yaml")]
    settings = config(dataset="microlens-sample", files=files, nproc=1, encoder="x3d_xs")
    assert settings["train_batch_size"] == 440  # of X3D-XS; 20 in the dataset's file
    assert (settings["stopping_step"], settings["eval_step"]) == (50, 1)  # 4 and 2 in the dataset's file
    assert (settings["epochs"], settings["normalisation"], settings["nproc"]) == (3, "weights", 1)
    assert settings["frame_size"] == 64


def test_a_preset_says_how_many_processes_to_start(tmp_path):
    named = {"model": "SASRecV", "preset": "published"}
    assert wanted_processes(named, []) == 4
    assert wanted_processes(named | {"nproc": "2"}, []) == 2
    assert wanted_processes({"model": "SASRecID", "preset": "published"}, []) == 1
    (tmp_path / "a.yaml").write_text("model: GRU4RecV\npreset: published\n")
    assert wanted_processes({}, [str(tmp_path / "a.yaml")]) == 4


def test_an_unknown_preset_and_one_for_a_stock_model_are_errors():
    with pytest.raises(MicroLensError, match="preset: 'publised' is unknown. Did you mean 'published'"):
        config(preset="publised")
    with pytest.raises(MicroLensError, match="preset: SASRec does not use this.*SASRecV"):
        config("SASRec")


def test_a_run_records_the_values_that_it_used(content_settings):
    chosen = content_settings | {"preset": "published", "nproc": 1, "epochs": 1, "state": "INFO"}
    chosen = {key: value for key, value in chosen.items() if key != "train_batch_size"}
    result = run("SASRecV", "tiny", config_dict=chosen)
    used = result["config"]
    assert (used["preset"], used["encoder_output"]) == ("published", "released")
    assert (used["train_batch_size"], used["stopping_step"], used["epochs"]) == (440, 50, 1)
    log = (Path(result["folder"]) / "log.txt").read_text()
    projection = 400 * 16 + 16
    parameters = sum(p.numel() for p in ENCODERS["x3d_xs"].build(2, 32).parameters())
    assert f"trainable in encoder: {parameters + projection:,}" in log
    again = Config(config_file_list=[str(Path(result["folder"]) / "config.yaml")])
    assert again.as_given == yaml.safe_load((Path(result["folder"]) / "config.yaml").read_text())


def test_every_file_of_the_preset_is_in_the_wheel():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = setup["options.package_data"]["recbole_microlens.properties"].split(", ")
    packed = {path for pattern in patterns for path in (ROOT / "properties").glob(pattern)}
    assert packed == set((ROOT / "properties").rglob("*.yaml"))
    assert ROOT / "properties" / "published" / "encoder" / "x3d_xs.yaml" in packed
