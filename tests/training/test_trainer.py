"""Training: parameter groups, clipping, precision, NaN, checkpoints, and a resume like the unbroken run."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from quick import some

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run
from recbole_microlens.training import checkpoint
from recbole_microlens.training.preparation import prepare_data
from recbole_microlens.training.trainer import create_trainer


@pytest.fixture
def trainer_of(tmp_path, content_settings):
    """Return a function settings -> (trainer, train, valid, test) of SASRecV."""

    def make(model="SASRecV", **more):
        config = Config(model, "tiny", config_dict=content_settings | more)
        loaders = prepare_data(config, create_dataset(config))
        torch.manual_seed(0)
        model = config.model_class(config, loaders[0]._dataset)
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return create_trainer(config, model, folder, loaders[0]), *loaders

    return make


def test_encoder_has_its_own_learning_rate_and_no_weight_decay(trainer_of):
    trainer, *_ = trainer_of(learning_rate=3e-4, encoder_learning_rate=5e-5, weight_decay=0.1)
    encoder, others = trainer.optimizer.param_groups
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert (encoder["lr"], encoder["weight_decay"]) == (5e-5, 0.0)
    assert (others["lr"], others["weight_decay"]) == (3e-4, 0.1)
    assert len(encoder["params"]) == len(list(trainer.model.item_embedding.encoders().parameters()))


def test_frozen_encoder_leaves_one_group(trainer_of):
    trainer, *_ = trainer_of(finetune="frozen")
    assert len(trainer.optimizer.param_groups) == 1


def test_gradients_are_clipped_after_they_are_unscaled(trainer_of):
    """A loss scale must not change what clipping does: the norm seen by the optimiser is the limit itself."""
    trainer, train, *_ = trainer_of(clip_grad_norm={"max_norm": 0.01})
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=True)
    norms = []

    def record(*_):
        grads = [
            p.grad.norm() for g in trainer.optimizer.param_groups for p in g["params"] if p.grad is not None
        ]
        norms.append(torch.stack(grads).norm().item())

    trainer.optimizer.register_step_pre_hook(record)
    trainer.model.train()
    trainer._step(next(iter(train)), trainer.model.calculate_loss)
    assert norms == [pytest.approx(0.01, rel=1e-3)]


@pytest.mark.parametrize(("loss", "what"), [("nan", "NaN"), ("inf", "infinite")])
def test_a_loss_that_is_no_number_stops_with_advice(trainer_of, loss, what):
    trainer, train, *_ = trainer_of()
    with pytest.raises(MicroLensError, match=f"loss is {what}. Lower `learning_rate`"):
        trainer._train_epoch(train, 0, lambda batch: torch.tensor(float(loss), requires_grad=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="mixed precision is for GPUs")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_stays_near_fp32(precision, trainer_of):
    losses = {}
    for chosen in ("fp32", precision):
        no_dropout = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "use_gpu": True}
        trainer, train, *_ = trainer_of(precision=chosen, **no_dropout)
        losses[chosen] = trainer._train_epoch(train, 0) / len(train)
    assert losses[precision] != losses["fp32"]
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.05)


# Of what is allowed on GPUs only, because of convolutions' gradients, the rest runs on the CPU as well.
@pytest.mark.parametrize(
    ("model", "dtype"),
    [("SASRecIDV", torch.bfloat16), ("SASRecID", torch.bfloat16), ("SASRecID", torch.float16)],
)
def test_steps_in_half_precision_stay_near_those_in_fp32(model, dtype, trainer_of):
    losses, gradients = [], []
    for chosen in (None, dtype):
        trainer, train, *_ = trainer_of(
            model,
            finetune="frozen",
            hidden_dropout_prob=0.0,
            attn_dropout_prob=0.0,
            clip_grad_norm={"max_norm": 1e9},
        )
        trainer.autocast_dtype = chosen
        trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=chosen == torch.float16)
        trainer.model.train()
        train.generator.manual_seed(5)
        losses.append(trainer._step(next(iter(train)), trainer.model.calculate_loss).item())
        gradients.append(
            torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
        )
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    difference = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert 0 < difference < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_a_loss_scale_that_overflows_is_lowered_until_steps_are_taken(trainer_of):
    trainer, train, *_ = trainer_of("SASRecID", learning_rate=1e-2)
    trainer.autocast_dtype = torch.float16
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    trainer.model.train()
    batch = next(iter(train))
    before = copy.deepcopy(trainer.model.state_dict())
    losses = [trainer._step(batch, trainer.model.calculate_loss).item()]
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    losses += [trainer._step(batch, trainer.model.calculate_loss).item() for _ in range(40)]
    assert trainer.scaler.get_scale() < 2.0**25
    assert all(map(math.isfinite, losses)) and losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_on_the_cpu_is_fp32_with_a_warning(precision, trainer_of, caplog):
    losses = []
    for chosen in (precision, "fp32"):
        trainer, train, *_ = trainer_of(precision=chosen)
        losses.append(trainer._train_epoch(train, 0))
    assert losses[0] == losses[1]
    assert f"precision: {precision} is for GPUs" in caplog.text


def test_every_item_is_encoded_once_an_evaluation(trainer_of):
    trainer, train, valid, _ = trainer_of()
    trainer.eval_collector.data_collect(train)
    encoded = []
    trainer.model.item_embedding.towers["video"].encoder.register_forward_pre_hook(
        lambda _, args: encoded.append(len(args[0]))
    )
    first = trainer.evaluate(valid, load_best_model=False)
    assert sum(encoded) == train._dataset.item_num - 1
    assert trainer.evaluate(valid, load_best_model=False) == first


@pytest.mark.parametrize("model", some(("SASRecV", "BPR"), "SASRecV"))
def test_resumed_run_ends_like_the_unbroken_one(model, content_settings, settings):
    chosen = (content_settings if model == "SASRecV" else settings) | {"epochs": 3}
    unbroken = run(model, "tiny", config_dict=chosen)
    broken = run(model, "tiny", config_dict=chosen | {"epochs": 1})
    Path(broken["folder"], "result.json").unlink()
    resumed = run(config_dict={"epochs": 3}, resume=broken["folder"])
    settings = yaml.safe_load((Path(broken["folder"]) / "config.yaml").read_text())
    assert settings == resumed["config"] and settings["epochs"] == 3
    assert resumed["test_result"] == unbroken["test_result"]
    assert resumed["best_valid_result"] == unbroken["best_valid_result"]
    assert len(resumed["epoch_times_s"]) == 3
    states = [checkpoint.load(Path(r["folder"]) / "last.pth")["state_dict"] for r in (unbroken, resumed)]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, atol=0, rtol=0)


def test_a_run_with_the_default_device_resumes_where_there_is_no_gpu(settings):
    del settings["use_gpu"]
    begun = run("BPR", "tiny", config_dict=settings | {"epochs": 1})
    assert "gpu_id" not in begun["config"]
    assert run(resume=begun["folder"])["test_result"] == begun["test_result"]


@pytest.mark.parametrize("model", ["MultiVAE", "SASRecV"])
def test_resume_restores_what_a_model_counts_and_the_trainer_measured(model, quick_settings, settings):
    chosen = (quick_settings if model == "SASRecV" else settings) | {"epochs": 2}
    broken = run(model, "tiny", config_dict=chosen | {"epochs": 1})
    resumed, unbroken = (
        run(config_dict={"epochs": 2}, resume=broken["folder"]),
        run(model, "tiny", config_dict=chosen),
    )
    assert resumed["test_result"] == unbroken["test_result"]
    assert len(resumed["data_wait_shares"]) == len(unbroken["data_wait_shares"])
    last = [checkpoint.load(Path(r["folder"]) / "last.pth") for r in (resumed, unbroken)]
    assert last[0]["model_numbers"] == last[1]["model_numbers"]


def test_same_seed_gives_the_same_result_and_another_seed_another(quick_settings):
    first, again = (run("SASRecV", "tiny", config_dict=quick_settings) for _ in range(2))
    other = run("SASRecV", "tiny", config_dict=quick_settings | {"seed": 5})
    states = [checkpoint.load(Path(r["folder"]) / "model.pth")["state_dict"] for r in (first, again, other)]
    assert first["test_result"] == again["test_result"]
    key = "item_embedding.towers.video.projection.0.0.weight"
    assert torch.equal(states[0][key], states[1][key])
    assert not torch.equal(states[0][key], states[2][key])


@pytest.mark.slow
def test_training_killed_in_the_middle_resumes_to_the_same_end(content_settings, tmp_path):
    chosen = content_settings | {"epochs": 5, "stopping_step": 20}
    chosen["checkpoint_dir"] = str(tmp_path / "killed")
    code = (
        "import json, sys; from recbole_microlens.quick_start import run; "
        "run('SASRecV', 'tiny', config_dict=json.loads(sys.argv[1]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(chosen)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("last.pth")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (folder,) = (tmp_path / "killed" / "tiny").iterdir()
    assert not (folder / "result.json").exists()
    done = checkpoint.load(folder / "last.pth")["epoch"] + 1
    assert done < 5
    resumed = run(resume=folder)
    unbroken = run("SASRecV", "tiny", config_dict=chosen)
    assert resumed["test_result"] == unbroken["test_result"]
    assert resumed["best_valid_result"] == unbroken["best_valid_result"]
    assert (folder / "result.json").is_file()


def test_checkpoints_load_with_weights_only(quick_settings):
    folder = Path(run("SASRecV", "tiny", config_dict=quick_settings | {"epochs": 1})["folder"])
    for name in ("model.pth", "last.pth"):
        state = torch.load(folder / name, weights_only=True)
        assert state["model"] == "SASRecV"
        assert all(isinstance(value, torch.Tensor) for value in state["state_dict"].values())
    assert not list(folder.glob("*.partial"))


def test_a_damaged_or_foreign_checkpoint_is_an_error(settings, quick_settings):
    folder = Path(run("BPR", "tiny", config_dict=settings | {"epochs": 1})["folder"])
    with pytest.raises(MicroLensError, match="is a run with model BPR; it cannot continue with SASRecV"):
        run("SASRecV", "tiny", config_dict=quick_settings, resume=folder)
    (folder / "last.pth").write_bytes((folder / "last.pth").read_bytes()[:200])
    with pytest.raises(MicroLensError, match="last.pth is damaged"):
        run(resume=folder)
