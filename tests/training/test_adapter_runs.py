"""Runs with adapters: with a cache and without, resumed, loaded, started from another run, and exported."""

from pathlib import Path

import onnxruntime
import pytest
import torch

from recbole_microlens.config import Config
from recbole_microlens.encoders.adapters.lora import LoraEncoder
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.towers.item_tower import item_tower
from recbole_microlens.export.towers.onnx_export import exported
from recbole_microlens.items.media_batch import ItemMedia
from recbole_microlens.quick_start import load, run
from recbole_microlens.training.checkpoint import weights
from recbole_microlens.training.prerequisites import require_weights

# One of them in the quick group.
MODES = ("lora", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("adapter", "side")))
ADAPTED = {
    "finetune_stages": 1,
    "lora_rank": 2,
    "lora_dropout": 0.3,
    "adapter_size": 3,
    "side_size": 3,
    "side_layers": [0, 1],
    "activation_cache_dtype": "fp32",
    "encoder_learning_rate": 1e-2,
    "learner": "sgd",
    "epochs": 2,
}


@pytest.fixture
def trained(quick_settings, tmp_path):
    """Return a function settings -> the result of a run of two epochs."""

    def train(mode, **more):
        chosen = quick_settings | ADAPTED | {"finetune": mode, "activation_cache": "off"} | more
        return run("SASRecV", "tiny", config_dict=chosen)

    return train


def weights_of(result):
    """The tensors of a run's ``model.pth``, by name."""
    return weights(Path(result["folder"]) / "model.pth")


@pytest.mark.parametrize("mode", MODES)
def test_a_cached_run_is_the_uncached_one_and_a_resumed_run_the_unbroken_one(trained, tmp_path, mode):
    caches = str(tmp_path / "caches")
    plain, cached = trained(mode), trained(mode, activation_cache=caches)
    assert cached["train_losses"] == pytest.approx(plain["train_losses"], rel=1e-6)
    assert cached["test_result"] == plain["test_result"]
    (cache,) = (tmp_path / "caches").iterdir()
    assert sum(path.suffix == ".rows" for path in cache.iterdir()) == (2 if mode == "side" else 1)
    broken = trained(mode, activation_cache=caches, epochs=1)
    resumed = run(config_dict={"epochs": 2}, resume=broken["folder"])
    assert resumed["train_losses"] == cached["train_losses"]
    assert resumed["test_result"] == cached["test_result"]


@pytest.mark.slow
def test_modes_with_the_same_cut_share_a_cache(trained, tmp_path):
    caches = tmp_path / "caches"
    for mode in ("top", "lora", "adapter"):
        trained(mode, activation_cache=str(caches), epochs=1)
        assert len(list(caches.iterdir())) == 1
    trained("side", activation_cache=str(caches), epochs=1)
    assert len(list(caches.iterdir())) == 2


@pytest.mark.parametrize("mode", MODES)
def test_only_adapters_change_and_a_run_loads_with_them(trained, mode):
    result = trained(mode, epochs=1)
    saved = weights_of(result)
    prefix = "item_embedding.towers.video.encoder."
    of_encoder = {name.removeprefix(prefix) for name in saved if name.startswith(prefix)}
    torch.manual_seed(7)  # another one: what the run has trained is loaded, not drawn
    loaded = load(result["folder"])
    assert dict(loaded.trainer.evaluate(loaded.test_data, load_best_model=False)) == result["test_result"]
    encoder = loaded.trainer.model.item_embedding.encoders()["video"]
    plain = {f"network.{layer}.{part}" for layer in ("first", "second") for part in ("weight", "bias")}
    assert of_encoder == plain | encoder.adapter_names()
    assert result["cost"]["trainable_parameters"] < result["cost"]["parameters"]


def test_vectors_of_new_items_come_from_an_encoder_with_lora_in_its_weights(trained):
    result = trained("lora", epochs=1, encoder_learning_rate=1.0)
    model = load(result["folder"])
    merged = model.encoder.network.encoders()["video"]
    assert not isinstance(merged, LoraEncoder)
    loaded = model.trainer.model.item_embedding
    lora = loaded.encoders()["video"].eval()
    assert isinstance(lora, LoraEncoder)
    clips = torch.randint(0, 256, (3, 2, 32, 32, 3), dtype=torch.uint8)
    media = ItemMedia(torch.arange(1, 4), {"video": clips})
    with torch.no_grad():
        expected = loaded.eval().encode_without_id(media)
        found = model.encoder.network.encode_without_id(media)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
        update = lora.network.second.lora_B["default"].weight
        assert update.abs().max() > 0
        assert not torch.equal(merged.network.second.weight, lora.network.second.get_base_layer().weight)


def test_adapters_start_from_a_run_without_them(trained):
    before = trained("full", epochs=1)
    saved = weights_of(before)
    after = trained("lora", epochs=1, init_from=before["folder"], state="INFO")
    own = weights_of(after)
    for layer in ("first", "second"):
        name = f"item_embedding.towers.video.encoder.network.{layer}.weight"
        assert torch.equal(own[name], saved[name])
    with pytest.raises(MicroLensError, match="init_from: the video tower .*lora_A.* absent here"):
        trained("full", epochs=1, init_from=after["folder"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"finetune": "lora", "finetune_stages": 0},
            "finetune_stages: 0 is not a whole number",
        ),
        ({"finetune": "lora", "finetune_stages": 3}, "has 2 stages, set 1 to 2"),
        ({"finetune": "side", "side_layers": [2]}, r"side_layers: \[2\] does not fit; .* the stages 0 to 1"),
        (
            {"finetune": "side", "side_layers": [-1]},
            r"side_layers: \[-1\]: -1 is not a whole number",
        ),
        ({"finetune": "sides"}, "Did you mean 'side'"),
        ({"finetune": "lora", "lora_rank": 0}, "lora_rank: 0 is not a whole number of at least 1"),
        ({"lora_dropout": 1}, "lora_dropout: 1 leaves nothing"),
    ],
)
def test_bad_settings_have_one_message(quick_settings, settings, message):
    with pytest.raises(MicroLensError, match=message):
        require_weights(Config("SASRecV", "tiny", config_dict=quick_settings | settings))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["lora", "adapter", "side"])
def test_an_item_tower_in_onnx_gives_what_the_run_gives(trained, mode):
    model = load(trained(mode, epochs=1, encoder_learning_rate=1.0)["folder"])
    clips = torch.randint(0, 256, (3, 2, 32, 32, 3), dtype=torch.uint8)
    session = onnxruntime.InferenceSession(exported(item_tower(model, False)).content)
    (found,) = session.run(None, {"frames": clips.numpy()})
    with torch.no_grad():
        layer = model.trainer.model.item_embedding.eval()
        expected = layer.encode_without_id(ItemMedia(torch.arange(1, 4), {"video": clips}))
    torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-4)
