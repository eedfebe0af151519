"""Runs with the activation cache: losses, rankings and results of runs without, and of the published step."""

import runpy
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import load, run
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer

# SGD, because Adam makes a whole step of the rounding error of a gradient that is zero.
TOP = {"finetune": "top", "finetune_stages": 1, "activation_cache_dtype": "fp32", "learner": "sgd"}


@pytest.fixture
def trained(content_settings, tmp_path):
    """Return a function settings -> (losses of two epochs, validation result, trainer)."""

    def train(**more):
        config = Config("SASRecV", "tiny", config_dict=content_settings | TOP | more)
        train, valid, _ = prepare_data(config, create_dataset(config))
        torch.manual_seed(0)
        model = config.model_class(config, train._dataset)
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        trainer = create_trainer(config, model, folder, train)
        trainer.eval_collector.data_collect(train)
        losses = [trainer._train_epoch(train, epoch) for epoch in range(2)]
        return losses, trainer.evaluate(valid, load_best_model=False), trainer

    return train


@pytest.mark.parametrize("finetune", ["top", "frozen"])
def test_losses_and_rankings_are_those_without_a_cache(trained, tmp_path, finetune):
    plain = trained(finetune=finetune, activation_cache="off")
    for room, fraction in [(None, 0.5), (None, 0), (31e-6, 0.5), (31e-6, 0)]:  # An item takes 3 kB, or 8.
        cached = trained(
            finetune=finetune,
            activation_cache=str(tmp_path / f"caches-{room}"),
            activation_cache_device_fraction=fraction,
            activation_cache_max_gb=room,
        )
        assert cached[0] == pytest.approx(plain[0], rel=1e-6)
        assert cached[1] == plain[1]
        table, expected = (result[2].model.item_embedding.weight for result in (cached, plain))
        torch.testing.assert_close(table, expected, atol=1e-6, rtol=1e-5)
        assert set(cached[2].reader.readers) == ({"video"} if room or not fraction else set())
        if room:
            assert_most_drawn(cached[2])


def assert_most_drawn(trainer):
    """Some items are cached, and no other is drawn more often than one of them."""
    rows = trainer.caches._in_use["video"]
    held, draws = (rows.slots >= 0).numpy(), trainer.caches.work.draws_of(21)
    assert 3 <= rows.n_held <= 10
    assert draws[held].min() >= draws[1:][~held[1:]].max()


def test_a_frozen_head_with_dropout_draws_behind_the_cache_what_it_draws_without(trained, tmp_path):
    chosen = {"finetune": "frozen", "encoder_output": "released", "normalisation": "released"}
    plain = trained(**chosen, activation_cache="off")
    cached = trained(**chosen, activation_cache=str(tmp_path / "caches"))
    assert cached[0] == pytest.approx(plain[0], rel=1e-6)
    assert cached[1] == plain[1]
    rows = cached[2].model.item_embedding.cached["video"].read(torch.tensor([1, 2]))
    assert [tuple(part.shape) for part in rows.tensors] == [(2, 2048, 2, 1, 1)]
    in_chunks = [
        trained(**chosen, activation_cache=cache, encode_chunk=3)[0]
        for cache in ("off", str(tmp_path / "caches"))
    ]
    assert in_chunks[1] == pytest.approx(in_chunks[0], rel=1e-6)


def test_with_rows_on_the_device_no_media_are_read(trained, tmp_path, monkeypatch):
    losses, *_ = trained(activation_cache=str(tmp_path / "caches"))
    monkeypatch.setattr("recbole_microlens.media.store.MediaStore.read", None)
    assert trained(activation_cache=str(tmp_path / "caches"))[0] == losses


def test_a_finished_run_evaluates_the_same_when_it_is_loaded_again(content_settings, tmp_path):
    chosen = content_settings | TOP | {"activation_cache": str(tmp_path / "caches"), "epochs": 2}
    result = run("SASRecV", "tiny", config_dict=chosen)
    # Another seed gives the random trunk other weights before those of the run are loaded.
    torch.manual_seed(99)
    loaded = load(result["folder"])
    test, trainer = loaded.test_data, loaded.trainer
    assert dict(trainer.evaluate(test, load_best_model=False)) == result["test_result"]
    assert len(list((tmp_path / "caches").iterdir())) == 1


@pytest.mark.slow
def test_a_resumed_run_with_a_cache_ends_like_the_unbroken_one(content_settings, tmp_path):
    chosen = content_settings | TOP | {"activation_cache": str(tmp_path / "caches"), "epochs": 2}
    unbroken = run("SASRecV", "tiny", config_dict=chosen)
    broken = run("SASRecV", "tiny", config_dict=chosen | {"epochs": 1})
    shutil.rmtree(tmp_path / "caches")  # The rest is trained with some items cached.
    resumed = run(config_dict={"epochs": 2, "activation_cache_max_gb": 31e-6}, resume=broken["folder"])
    assert [path.suffix for path in (tmp_path / "caches").iterdir()] == [".some"]
    assert resumed["test_result"] == unbroken["test_result"]


def test_chunks_change_no_loss(trained):
    frozen_statistics = {"activation_cache": "off", "finetune": "frozen"}
    whole, chunked = trained(**frozen_statistics), trained(encode_chunk=3, **frozen_statistics)
    assert chunked[0] == pytest.approx(whole[0], rel=1e-5)


@pytest.mark.slow
def test_twenty_steps_follow_the_published_dense_step(tmp_path, monkeypatch):
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(folder)
    bench = runpy.run_path(str(folder / "train_step.py"))
    arguments = Namespace(
        encoder="x3d_xs",
        frames=2,
        size=32,
        users=2,
        hidden_size=16,
        cache_dtype="fp32",
        device="cpu",
    )
    steps = {
        name: step
        for build in ("published_steps", "our_steps")
        for name, step in bench[build](arguments, tmp_path, "top").items()
    }
    losses = {name: [steps[name]().item() for _ in range(20)] for name in ("published", "uncached", "cached")}
    assert losses["published"][-1] < losses["published"][0] - 0.05
    for name in ("uncached", "cached"):
        assert losses[name] == pytest.approx(losses["published"], abs=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"activation_cache": 3},
        {"activation_cache": ""},
        {"activation_cache_dtype": "fp8"},
        {"activation_cache_max_gb": 0},
        {"activation_cache_device_fraction": -1},
        {"encode_chunk": 0},
        {"compile": "yes"},
    ],
)
def test_wrong_settings_name_their_key(wrong):
    with pytest.raises(MicroLensError, match=f"^{next(iter(wrong))}: "):
        Config("SASRecV", "any", config_dict={"use_gpu": False} | wrong)


def test_off_is_off_however_yaml_reads_it(tmp_path):
    (tmp_path / "off.yaml").write_text("activation_cache: off\n")
    config = Config("SASRecV", "any", [str(tmp_path / "off.yaml")], {"use_gpu": False})
    from recbole_microlens.activation_cache.settings import CacheSettings

    assert CacheSettings.of(config).folder is None
