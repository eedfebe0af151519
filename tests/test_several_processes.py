"""Two processes with half of each batch train the model that one process trains, and measure the same."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import in_two

from recbole_microlens.config import Config
from recbole_microlens.data.dataset import create_dataset
from recbole_microlens.errors import MicroLensError
from recbole_microlens.quick_start import run
from recbole_microlens.training import checkpoint
from recbole_microlens.training.preparation import prepare_data

# 24 users: the last batch of 23 leaves one user, and one of two processes idle.
# SGD, because Adam makes a whole step of the rounding error of a gradient that is zero, and nothing of a
# gradient that is twice too large.
EXACT = {
    "learner": "sgd",
    "learning_rate": 0.05,
    "encoder_learning_rate": 0.05,
    "train_batch_size": 23,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "dropout_probs": [0.0, 0.0],
    "freeze_bn_statistics": True,
    "finetune": "top",
    "activation_cache": "off",
    "encoder": None,
}
# ResNet's convolutions are 3 x 3, whose gradients have a memory format of their own; NARM is trained on the
# last position alone, over the items of the batch; HSTU reads times beside items.
CASES = {
    "SASRecIDV": {"video_encoder": "x3d_xs"},
    "NARMI": {"image_encoder": "resnet18"},
    "HSTUID": {},
    "LiGRID": {},
}


def _run(model, settings):
    result = run(model, "tiny", config_dict=settings)
    log = Path(result["folder"], "log.txt")
    return result, log.read_text() if log.exists() else ""


def _losses(log):
    lines = [line for line in log.splitlines() if "train loss" in line]
    return [float(line.rpartition("train loss: ")[2].rstrip("]")) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("model", CASES)
def test_losses_weights_and_metrics_are_those_of_one_process(model, content_settings):
    settings = content_settings | EXACT | CASES[model] | {"state": "INFO"}
    (whole, log) = _run(model, settings)
    (first, both_log), (second, _) = in_two(_run, model, settings)

    assert first["folder"] == second["folder"] != whole["folder"]
    assert first["processes"] == 2
    assert len(_losses(log)) == 2
    assert _losses(both_log) == pytest.approx(_losses(log), abs=1e-3)
    assert first["test_result"] == second["test_result"] == pytest.approx(whole["test_result"], abs=1e-4)
    states = [checkpoint.load(Path(r["folder"]) / "model.pth")["state_dict"] for r in (whole, first)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, atol=1e-5, rtol=1e-4)


def _first_loss(model, settings, share=None):
    """Of the first batch; in one process of what would be the share of one of two."""
    config = Config(model, "tiny", config_dict=settings)
    train, _, _ = prepare_data(config, create_dataset(config))
    if share is not None:
        train._rank, train._world_size = share, 2
    train.generator.manual_seed(5)
    torch.manual_seed(0)
    network = config.model_class(config, train._dataset)
    return network.calculate_loss(next(iter(train))).item()


def _local_and_global_loss(model, settings):
    return [_first_loss(model, settings | {"negatives": which}) for which in ("local", "global")]


@pytest.mark.parametrize("model", ["SASRecID", pytest.param("NARMID", marks=pytest.mark.slow)])
def test_local_negatives_are_those_of_a_process_alone(model, content_settings):
    settings = content_settings | EXACT | {"encoder_weights": None}
    halves = [_first_loss(model, settings | {"negatives": "local"}, share) for share in (0, 1)]
    locals_, everybodys = zip(*in_two(_local_and_global_loss, model, settings), strict=True)
    assert locals_ == pytest.approx(halves, abs=1e-6)
    assert all(abs(one - half) > 1e-3 for one, half in zip(everybodys, halves, strict=True))


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_leaves_nobody_waiting(content_settings, tmp_path):
    (tmp_path / "file").touch()
    settings = content_settings | {
        "activation_cache": str(tmp_path / "file" / "cache"),
        "finetune": "top",
        "epochs": 1,
    }
    first, second = in_two(_run, "SASRecV", settings)
    assert first[0]["test_result"] == second[0]["test_result"]


@pytest.mark.slow
def test_one_command_starts_several_processes_one_of_them_writes_and_as_many_resume(
    content_settings, tmp_path
):
    command = [sys.executable, "-m", "recbole_microlens", "run"]
    settings = content_settings | {"nproc": 2, "epochs": 1}
    begin = ["--model=BERT4RecID", "--dataset=tiny"] + [f"--{key}={value}" for key, value in settings.items()]
    done = subprocess.run([*command, *begin], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test: ") == 1
    (folder,) = (path.parent for path in tmp_path.rglob("last.pth"))
    assert json.loads((folder / "result.json").read_text())["processes"] == 2
    done = subprocess.run(
        [*command, f"--resume={folder}", "--epochs=2"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((folder / "result.json").read_text())["epoch_times_s"]) == 2


@pytest.mark.slow
def test_what_only_the_second_process_finds_wrong_is_said(content_settings, tmp_path):
    """Such as a disk that the second machine does not have."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif os.environ.get('RANK') == '1': sys.argv.append('--data_path=nowhere')\n"
    )
    settings = content_settings | {"nproc": 2, "epochs": 1}
    command = [sys.executable, "-m", "recbole_microlens", "run", "--model=SASRecID", "--dataset=tiny"]
    command += [f"--{key}={value}" for key, value in settings.items()]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1 and "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_stock_models_run_in_one_process_and_say_so(settings):
    command = [sys.executable, "-m", "recbole_microlens", "run", "--model=BPR", "--dataset=tiny", "--nproc=2"]
    command += [f"--{key}={value}" for key, value in settings.items()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.count("error: nproc: BPR does not use this") == 1


def test_in_python_nproc_names_torchrun(content_settings):
    with pytest.raises(MicroLensError, match="torchrun --nproc_per_node=2"):
        run("SASRecID", "tiny", config_dict=content_settings | {"nproc": 2})


def _cache_bytes(data: Path) -> list[bytes]:
    (folder,) = [path for path in (data / "tiny" / "activation_cache").iterdir() if path.is_dir()]
    return [path.read_bytes() for path in sorted(folder.glob("*")) if path.suffix != ".json"]


@pytest.fixture
def one_thread():
    """As many threads as each of two processes has: sums in another order differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_activation_cache_is_built_by_both_and_is_that_of_one(
    content_settings, tiny_data, tmp_path, one_thread
):
    caches = []
    for name, start in (("one", _run), ("two", lambda *given: in_two(_run, *given))):
        data = tmp_path / name
        shutil.copytree(tiny_data, data, ignore=shutil.ignore_patterns("activation_cache"))
        start(
            "SASRecV", content_settings | {"data_path": str(data), "finetune": "top", "encode_batch_size": 6}
        )
        caches.append(_cache_bytes(data))
    assert caches[0] == caches[1]
    assert sum(map(len, caches[0])) > 1000
