"""init_from: encoders and user model of another run are taken, what belongs to items and users never is."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from recbole.model.sequential_recommender import GRU4Rec
from torch import nn

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.models import SASRecV
from recbole_microlens.quick_start import run
from recbole_microlens.training import checkpoint
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.transfer import start_from


class Mixed(SASRecV):
    """A class of one's own: `item_modality` says what it looks at."""

    suffix = ""


def content_class(backbone):
    return type(f"{backbone.__name__}Mixed", (SASRecV.__mro__[1], backbone), {"suffix": ""})


@pytest.fixture
def more_data(tiny_data, tmp_path):
    """A ``data_path`` with ``tiny``, ``smaller`` (fewer items and users) and ``twin`` (just as many)."""
    out = tmp_path / "atomic"
    shutil.copytree(tiny_data / "tiny", out / "tiny")
    header, *rows = (tiny_data / "tiny" / "tiny.inter").read_text().splitlines()
    popular = sorted({row.split("\t")[1] for row in rows})[:14]
    few = [row for row in rows if row.split("\t")[1] in popular and row.split("\t")[0] != "1"]
    for name, kept in (("smaller", few), ("twin", rows)):
        shutil.copytree(tiny_data / "tiny", out / name)
        (out / name / "tiny.inter").unlink()
        (out / name / f"{name}.inter").write_text("\n".join([header, *kept]) + "\n")
    return out


@pytest.fixture
def chosen(settings, tiny_encoders, more_data):
    """Settings of a run on ``more_data``."""
    more = {"user_inter_num_interval": None, "topk": [5], "valid_metric": "Hit@5", "epochs": 1}
    return settings | tiny_encoders | {"data_path": str(more_data)} | more


@pytest.fixture
def finished(chosen, tmp_path):
    """Return a function (model class, dataset, further settings) -> folder of a run with that model's state.

    The model is not trained: every weight that starts as zero or one is made random instead.
    """

    def make(model, dataset="tiny", name="SASRecV", **more):
        built, config, _ = build(chosen, model, dataset, seed=1, **more)
        with torch.no_grad():
            for parameter in built.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        folder.mkdir()
        text = "".join(f"{key}: {config[key]!r}\n" for key in ("dataset", "item_modality", "fusion"))
        (folder / "config.yaml").write_text(f"model: {name}\n{text.replace('None', 'null')}")
        state = {"model": name, "epoch": 0, "state_dict": built.state_dict(), "other_parameter": {}}
        checkpoint.save(state, folder / "model.pth")
        return folder, built.state_dict()

    return make


def build(settings, model, dataset, seed=2, **more):
    config = Config(model, dataset, config_dict=settings | more)
    train, _, _ = prepare_data(config, create_dataset(config))
    torch.manual_seed(seed)
    return config.model_class(config, train._dataset), config, train._dataset


def same(state, other, part):
    names = [name for name in state if name.startswith(part)]
    assert names
    return all(torch.equal(state[name], other[name]) for name in names)


def test_towers_fusion_and_user_model_are_taken_to_a_dataset_of_another_size(chosen, finished, caplog):
    looks = {"item_modality": ["id", "video"], "fusion": "gated"}
    folder, saved = finished(Mixed, **looks)
    model, config, data = build(chosen, Mixed, "smaller", **looks)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with caplog.at_level(logging.INFO):
        start_from(model, config, folder)
    after = model.state_dict()
    table = "item_embedding.towers.id.table.weight"
    assert after[table].shape != saved[table].shape
    assert torch.equal(after.pop(table), before[table])
    assert all(torch.equal(value, saved[name]) for name, value in after.items())
    assert f"init_from: video tower, fusion, user model from {folder} (SASRecV on tiny)" in caplog.text
    assert f"left out what belongs to single items or users: {table}" in caplog.text


def test_ids_are_not_taken_when_both_datasets_have_as_many_items(chosen, finished):
    folder, saved = finished(Mixed, item_modality=["id", "video"])
    model, config, data = build(chosen, Mixed, "twin", item_modality=["id", "video"])
    table = "item_embedding.towers.id.table.weight"
    before = model.state_dict()[table].clone()
    assert before.shape == saved[table].shape
    start_from(model, config, folder)
    assert torch.equal(model.state_dict()[table], before)
    assert same(model.state_dict(), saved, "trm_encoder")


def test_another_backbone_takes_the_item_tower_alone_and_says_so(chosen, finished, caplog):
    folder, saved = finished(SASRecV)
    model, config, data = build(
        chosen, content_class(GRU4Rec), "smaller", embedding_size=16, loss_type="CE", item_modality=["video"]
    )
    gru = {name: value.clone() for name, value in model.gru_layers.state_dict().items()}
    with caplog.at_level(logging.INFO):
        start_from(model, config, folder)
    assert same(model.state_dict(), saved, "item_embedding.towers.video.")
    assert same(model.gru_layers.state_dict(), gru, "weight")
    assert "left out user model: that of the run is SASRec, this one is GRU4Rec" in caplog.text


def test_a_modality_that_the_run_lacks_starts_anew(chosen, finished, caplog):
    folder, saved = finished(SASRecV)
    looks = {"item_modality": ["image", "video"], "fusion": "concat"}
    model, config, data = build(chosen, Mixed, "smaller", **looks)
    with caplog.at_level(logging.INFO):
        start_from(model, config, folder)
    assert same(model.state_dict(), saved, "item_embedding.towers.video.")
    assert "left out image tower: SASRecV has none" in caplog.text
    assert "left out fusion: " in caplog.text


def test_a_stock_run_gives_its_user_model(chosen, finished, caplog):
    stock = {key: chosen[key] for key in ("hidden_size", "inner_size", "train_batch_size", "worker")}
    base = {key: value for key, value in chosen.items() if key in ("data_path", "use_gpu", "checkpoint_dir")}
    more = {"user_inter_num_interval": None, "topk": [5], "valid_metric": "Hit@5", "show_progress": False}
    folder = run("SASRec", "tiny", config_dict=base | stock | more | {"epochs": 1})["folder"]
    model, config, data = build(chosen, SASRecV, "smaller")
    with caplog.at_level(logging.INFO):
        start_from(model, config, Path(folder))
    saved = checkpoint.load(Path(folder) / "model.pth")["state_dict"]
    assert same(model.state_dict(), saved, "position_embedding")
    assert "left out video tower: SASRec has none" in caplog.text


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hidden_size": 8}, r"the video tower of .*projection.0.0.weight is \[16, 4\] there, \[8, 4\] here"),
        ({"video_encoder": "x3d_xs"}, "the video tower of .* does not fit: .* absent there"),
        ({"n_layers": 1}, "the user model of .*trm_encoder.layer.1.* there, absent here"),
        ({"MAX_ITEM_LIST_LENGTH": 4}, r"position_embedding.weight is \[10, 16\] there, \[4, 16\] here"),
    ],
)
def test_a_part_of_another_shape_is_an_error(more, message, chosen, finished):
    folder, _ = finished(SASRecV)
    model, config, data = build(chosen, SASRecV, "smaller", **more)
    with pytest.raises(MicroLensError, match=message):
        start_from(model, config, folder)


def test_nothing_to_take_is_an_error(chosen, finished, tmp_path):
    folder, _ = finished(Mixed, name="GRU4Rec", item_modality=["id"])
    model, config, data = build(chosen, Mixed, "smaller", item_modality=["id"])
    with pytest.raises(MicroLensError, match="nothing of .* fits Mixed .user model: .* is GRU4Rec"):
        start_from(model, config, folder)
    with pytest.raises(MicroLensError, match="is not a run folder"):
        start_from(model, config, tmp_path)
    with pytest.raises(MicroLensError, match="has no encoder to start from"):
        start_from(nn.Linear(1, 1), config, folder)


def test_a_run_starts_from_another_and_a_resume_goes_before_it(chosen, finished):
    folder, saved = finished(SASRecV)
    frozen = {"init_from": str(folder), "finetune": "frozen", "state": "INFO"}
    result = run("SASRecV", "smaller", config_dict=chosen | frozen)
    trained = checkpoint.load(Path(result["folder"]) / "model.pth")["state_dict"]
    assert same(trained, saved, "item_embedding.towers.video.encoder.")
    assert "init_from: video tower, user model from" in (Path(result["folder"]) / "log.txt").read_text()
    shutil.rmtree(folder)
    again = run(resume=result["folder"], config_dict={"epochs": 2})
    assert len(again["epoch_times_s"]) == 2
