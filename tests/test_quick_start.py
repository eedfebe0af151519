"""A whole run: what it leaves behind, and stock models as RecBole itself runs them."""

import functools
import json
import shutil
from collections import Counter
from pathlib import Path

import lmdb
import pytest
import torch
import yaml
from PIL import Image
from recbole.config import Config as StockConfig
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.build import build_frames
from recbole_microlens.media.store import MediaStore
from recbole_microlens.quick_start import load, run
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.sample.dataset import SAMPLE, make_sample
from recbole_microlens.training import checkpoint


def run_stock(model, settings, tmp_path, monkeypatch):
    """RecBole's own pipeline, step by step as in ``recbole.quick_start`` (which needs ray to import)."""
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr(StockConfig, "compatibility_settings", lambda self: None)
    monkeypatch.chdir(tmp_path)
    config = StockConfig(model=model, dataset="tiny", config_dict=dict(settings))
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"] + config["local_rank"], config["reproducibility"])
    recommender = get_model(model)(config, train._dataset).to(config["device"])
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, recommender)
    _, best_valid = trainer.fit(train, valid, saved=False, show_progress=False)
    return best_valid, trainer.evaluate(test, load_best_model=False)


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BPR", "LightGCN"])
def test_stock_model_under_recboles_settings_gives_its_own_metrics(model, settings, tmp_path, monkeypatch):
    shared = {"epochs": 2, "data_path": settings["data_path"], "show_progress": False, "gpu_id": ""}
    shared |= {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "train_batch_size": 64}
    shared |= {"state": "WARNING", "metric_decimal_place": 10, "topk": [5, 10]}
    if model in ("SASRec", "GRU4Rec"):
        shared["train_neg_sample_args"] = None
    ours = run(model, "tiny", config_dict=settings | shared | {"protocol": "recbole"})
    best_valid, _ = run_stock(model, shared, tmp_path, monkeypatch)
    assert ours["best_valid_result"] == dict(best_valid)
    # RecBole cannot load its own checkpoint with this torch, so the last epoch's model is compared on test.
    last = run(model, "tiny", config_dict=settings | shared | {"protocol": "recbole", "eval_step": 2})
    _, test = run_stock(model, shared | {"eval_step": 2}, tmp_path, monkeypatch)
    assert last["test_result"] == dict(test)
    assert len(test) == 10


@pytest.mark.parametrize("model", ["FM", "DIN", "ItemKNN", "RaCT", "NARM", "FPMC"])
def test_stock_models_of_every_family_run(model, settings):
    result = run(model, "tiny", config_dict=settings | {"epochs": 1, "pretrain_epochs": 10})
    assert 0 <= result["test_result"]["ndcg@20"] <= 1
    runs = Path(settings["checkpoint_dir"])
    assert [path.name for path in runs.iterdir()] == ["tiny"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("user_id:token\titem_id:token", "has no column timestamp"),
        ("user:token\titem:token\ttime:float", "has no column user_id, item_id, timestamp"),
        ("\ufeffuser_id:token\titem_id:token\ttimestamp:float", "begins with a byte order mark"),
    ],
)
def test_atomic_files_with_other_columns_are_named(header, message, settings, write_inter):
    data_path = write_inter("own", [("u", "i", 1)])
    inter = data_path / "own" / "own.inter"
    inter.write_text(header + "\n" + inter.read_text().split("\n", 1)[1], encoding="utf-8")
    with pytest.raises(MicroLensError, match=message):
        run("BPR", "own", config_dict=settings | {"data_path": str(data_path)})


def test_a_damaged_value_is_one_message_also_from_a_worker(content_settings, tiny_data, tmp_path):
    shutil.copytree(tiny_data / "tiny", tmp_path / "tiny")
    with (
        lmdb.open(str(tmp_path / "tiny" / "video.lmdb"), subdir=False) as store,
        store.begin(write=True) as txn,
    ):
        for key in [key for key, _ in txn.cursor() if key != b"__meta__"]:
            txn.put(key, bytes(100))
    chosen = content_settings | {"data_path": str(tmp_path), "worker": 1}
    with pytest.raises(MicroLensError, match="is damaged") as error:
        run("SASRecV", "tiny", config_dict=chosen)
    assert "Traceback" not in str(error.value)


def test_popularity_ranking_counts_the_training_interactions(settings):
    result = run("Pop", "tiny", config_dict=settings | {"topk": [3], "valid_metric": "Hit@3"})
    inter = [
        line.split("\t")
        for line in (Path(settings["data_path"]) / "tiny" / "tiny.inter").read_text().splitlines()[1:]
    ]
    watched = {}
    for user, item, _ in inter:
        watched.setdefault(user, []).append(item)
    watched = {user: items[-13:] for user, items in watched.items()}
    counts = Counter(item for items in watched.values() for item in items[:-2])
    best = worst = 0  # ties may fall either way
    for items in watched.values():
        *history, target = items
        others = [counts[item] for item in {i for _, i, _ in inter} - set(items)]
        assert len(history) == len(items) - 1
        best += sum(count > counts[target] for count in others) < 3
        worst += sum(count >= counts[target] for count in others) < 3
    assert worst / len(watched) - 1e-4 <= result["test_result"]["hit@3"] <= best / len(watched) + 1e-4
    assert worst > 0


def test_more_results_than_items_are_refused(settings):
    with pytest.raises(MicroLensError, match=r"topk: \[10, 50\] asks for more items than the \d+ of tiny"):
        run("BPR", "tiny", config_dict=settings | {"topk": [10, 50]})


def test_masking_the_history_changes_stock_sequential_results_only(settings):
    chosen = settings | {"hidden_size": 64, "inner_size": 256, "learning_rate": 1e-3}
    masked, unmasked = (
        run("SASRec", "tiny", config_dict=chosen | {"mask_history": value}) for value in (True, False)
    )
    assert masked["test_result"]["ndcg@20"] > unmasked["test_result"]["ndcg@20"]
    general = [run("BPR", "tiny", config_dict=settings | {"mask_history": value}) for value in (True, False)]
    assert general[0]["test_result"] == general[1]["test_result"]


def test_run_leaves_everything_in_its_folder(content_settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("SASRecV", "tiny", config_dict=content_settings | {"state": "INFO"})
    folder = Path(result["folder"])
    assert folder.parent == Path(content_settings["checkpoint_dir"]) / "tiny"
    assert folder.name.startswith("SASRecV-")
    names = {path.name for path in folder.iterdir()}
    checkpoints = {"model.pth", "last.pth", "previous.pth"}
    of_test = {"result.json", "ranks.npz", "items.pth", "users.pth", "fingerprint.json"}
    assert names == {"config.yaml", "log.txt", "tensorboard"} | of_test | checkpoints
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # and nothing elsewhere

    on_disk = json.loads((folder / "result.json").read_text())
    assert set(on_disk["test_result"]) == {"hit@10", "ndcg@10", "hit@20", "ndcg@20"}
    assert on_disk["test_result"] == result["test_result"]
    assert on_disk["model"] == "SASRecV" and on_disk["dataset"] == "tiny" and on_disk["seed"] == 2020
    assert on_disk["config"]["encoder"] == "x3d_xs"
    assert on_disk["versions"]["recbole"] == "1.2.1" and on_disk["versions"]["transformers"]
    assert len(on_disk["epoch_times_s"]) == 2 and min(on_disk["epoch_times_s"]) > 0
    assert on_disk["peak_memory_bytes"] > 50_000_000
    log = (folder / "log.txt").read_text()
    assert "data wait" in log and "\x1b[" not in log
    assert checkpoint.load(folder / "model.pth")["model"] == "SASRecV"


def test_a_finished_run_can_be_loaded_and_gives_its_test_result_again(quick_settings, tmp_path):
    result = run("SASRecV", "tiny", config_dict=quick_settings)
    before = sorted(path.name for path in Path(result["folder"]).rglob("*"))
    loaded = load(result["folder"])
    test_data, trainer = loaded.test_data, loaded.trainer
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]
    assert sorted(path.name for path in Path(result["folder"]).rglob("*")) == before


def test_configuration_of_a_run_repeats_it(quick_settings):
    first = run("SASRecV", "tiny", config_dict=quick_settings | {"seed": 7})
    again = run(config_file_list=[str(Path(first["folder"]) / "config.yaml")])
    assert again["test_result"] == first["test_result"]
    assert again["folder"] != first["folder"]
    settings = yaml.safe_load((Path(again["folder"]) / "config.yaml").read_text())
    assert settings == yaml.safe_load((Path(first["folder"]) / "config.yaml").read_text())


def test_dataset_that_is_not_there_is_answered_with_the_commands_that_make_it(settings):
    with pytest.raises(MicroLensError) as error:
        run("SASRec", "microlens-100k", config_dict=settings)
    assert "recbole-microlens convert RELEASE_FOLDER --dataset microlens-100k" in str(error.value)
    assert "recbole-microlens frames RELEASE_FOLDER --dataset microlens-100k" in str(error.value)
    assert not Path(settings["checkpoint_dir"]).exists()


def test_a_name_that_recbole_ships_is_the_users_data_if_it_is_there(settings, write_inter):
    rows = [(f"u{user}", f"i{(user + item) % 25}", item) for user in range(30) for item in range(8)]
    chosen = settings | {"data_path": str(write_inter("ml-100k", rows)), "state": "INFO"}
    folder = Path(run("BPR", "ml-100k", config_dict=chosen)["folder"])
    log = (folder / "log.txt").read_text()
    assert "The number of users: 31" in log and "comes with RecBole" not in log


def test_recboles_copy_stands_in_for_a_dataset_that_is_not_there_and_the_log_says_so(settings, tmp_path):
    chosen = settings | {"data_path": str(tmp_path / "none"), "state": "INFO", "epochs": 1}
    folder = Path(run("BPR", "ml-100k", config_dict=chosen)["folder"])
    log = (folder / "log.txt").read_text()
    assert (
        f"ml-100k is not in {tmp_path / 'none' / 'ml-100k'}: taking the copy that comes with RecBole" in log
    )
    assert "The number of users: 944" in log
    assert yaml.safe_load((folder / "config.yaml").read_text())["data_path"] == str(tmp_path / "none")


@pytest.fixture
def data_lacking_media(tiny_data, tmp_path):
    """A copy of ``tiny`` whose store, built from ready frames, lacks the first three items; and all ids."""
    folder = tmp_path / "lacking" / "tiny"
    shutil.copytree(tiny_data / "tiny", folder, ignore=shutil.ignore_patterns("*.lmdb"))
    items = read_item_ids(folder, "tiny")
    frames = tmp_path / "frames"
    frames.mkdir()
    whole = MediaStore(tiny_data / "tiny" / "video.lmdb")
    for item in items[3:]:
        for number, frame in enumerate(whole.read(item), 1):
            Image.fromarray(frame).save(frames / f"{item}-{number}.jpg")
    build_frames(frames, items, folder / "video.lmdb", num_frames=2, size=32, workers=1, progress=False)
    return folder.parent, items


def test_items_without_media_are_reported_or_stop_the_run(quick_settings, data_lacking_media):
    data_path, items = data_lacking_media
    chosen = quick_settings | {"data_path": str(data_path), "epochs": 1}
    folder = Path(run("SASRecV", "tiny", config_dict=chosen)["folder"])
    inter = (data_path / "tiny" / "tiny.inter").read_text().splitlines()[1:]
    concerned = sum(line.split("\t")[1] in items[:3] for line in inter)
    expected = f"3 of {len(items)} items ({concerned} of {len(inter)} interactions) have no frames"
    assert expected in (folder / "log.txt").read_text()
    with pytest.raises(
        MicroLensError, match="3 items have no frames in .*video.lmdb: .*`missing_media: zeros`"
    ):
        run("SASRecV", "tiny", config_dict=chosen | {"missing_media": "error"})


def test_content_model_without_a_store_names_the_command(content_settings, write_inter):
    rows = [(user, 6 * user + item, item) for user in range(5) for item in range(6)]
    chosen = content_settings | {"data_path": str(write_inter("bare", rows))}
    with pytest.raises(MicroLensError, match="recbole-microlens frames"):
        run("SASRecV", "bare", config_dict=chosen)


def test_sample_dataset_makes_itself_when_it_is_missing(settings, tmp_path, monkeypatch):
    small = functools.partial(make_sample, users=24, items=24)
    monkeypatch.setattr("recbole_microlens.training.prerequisites.make_sample", small)
    result = run("Pop", SAMPLE, config_dict=settings | {"data_path": str(tmp_path / "atomic")})
    assert (tmp_path / "atomic" / SAMPLE / "video.lmdb").is_file()
    assert 0 < result["test_result"]["hit@20"] <= 1


def test_sample_is_whole_and_the_same_from_the_same_seed(tmp_path):
    small = {"users": 20, "items": 16}
    folders = [make_sample(tmp_path / name, progress=False, **small) for name in ("a", "b")]
    for name in (f"{SAMPLE}.inter", f"{SAMPLE}.item", f"{SAMPLE}.time", "video.lmdb", "cover.lmdb"):
        assert (folders[0] / name).is_file(), name
    metas = [MediaStore(folder / "video.lmdb").meta for folder in folders]
    assert metas[0].identity == metas[1].identity
    inter = [(folder / f"{SAMPLE}.inter").read_bytes() for folder in folders]
    assert inter[0] == inter[1]


@pytest.mark.parametrize(
    "frame_pooling", [None, "difference", pytest.param("attention", marks=pytest.mark.slow)]
)
def test_video_through_an_image_encoder_with_its_installed_weights(
    frame_pooling, content_settings, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)  # nothing is downloaded
    chosen = content_settings | {"encoder": "efficientnet_lite0", "encoder_weights": "pretrained"}
    chosen |= {"frame_pooling": frame_pooling, "finetune": "top", "activation_cache": str(tmp_path / "cache")}
    result = run("SASRecV", "tiny", config_dict=chosen)
    assert len(result["epoch_times_s"]) == 2 and result["test_result"]["hit@20"] > 0
    assert len(list((tmp_path / "cache").glob("video-efficientnet_lite0-*"))) == 1
    saved = checkpoint.load(Path(result["folder"]) / "model.pth")["state_dict"]
    published = create_encoder("efficientnet_lite0", EncoderOptions(weights="pretrained")).state_dict()
    trunk, top = "network._blocks.15._project_conv.weight", "network._conv_head.weight"
    prefix = "item_embedding.towers.video.encoder."
    assert torch.equal(saved[prefix + trunk], published[trunk])
    assert not torch.equal(saved[prefix + top], published[top])
    loaded = load(result["folder"])
    test_data, trainer = loaded.test_data, loaded.trainer
    assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]


@pytest.mark.slow
def test_a_frozen_encoder_below_attention_learns_the_same_from_its_cache(content_settings, tmp_path):
    chosen = content_settings | {"encoder": "efficientnet_lite0", "encoder_weights": "pretrained"}
    chosen |= {"frame_pooling": "attention", "finetune": "frozen"}
    caches = {"activation_cache": str(tmp_path / "cache"), "activation_cache_dtype": "fp32"}
    cached, plain = (
        run("SASRecV", "tiny", config_dict=chosen | each) for each in (caches, {"activation_cache": "off"})
    )
    assert cached["test_result"] == plain["test_result"]
    scores = "item_embedding.towers.video.encoder.frame_pool.score.weight"
    one, other = (
        checkpoint.load(Path(r["folder"]) / "model.pth")["state_dict"][scores] for r in (cached, plain)
    )
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)
    assert one.abs().sum() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:test_resnet", "timm:test_vit"])
def test_video_through_a_network_of_timm_learns_the_same_from_its_cache(name, content_settings, tmp_path):
    chosen = content_settings | {"encoder": name, "finetune": "top", "finetune_stages": 2}
    caches = {"activation_cache": str(tmp_path / "cache"), "activation_cache_dtype": "fp32"}
    cached, plain = (
        run("SASRecV", "tiny", config_dict=chosen | each) for each in (caches, {"activation_cache": "off"})
    )
    assert cached["test_result"] == plain["test_result"]
    assert list((tmp_path / "cache").iterdir())
    loaded = load(cached["folder"])
    assert loaded.trainer.evaluate(loaded.test_data, load_best_model=False) == cached["test_result"]


def test_covers_through_the_same_encoder(content_settings):
    chosen = content_settings | {"encoder": "efficientnet_lite0", "encoder_weights": "pretrained"}
    result = run("SASRecI", "tiny", config_dict=chosen | {"epochs": 1})
    assert result["test_result"]["hit@20"] > 0
