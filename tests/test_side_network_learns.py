"""A side network from the command line to the result, on the titles of the sample dataset."""

import json

import pytest

from recbole_microlens.cli import main
from recbole_microlens.release.atomic import convert
from recbole_microlens.sample.dataset import SAMPLE
from recbole_microlens.sample.release import write_tables
from recbole_microlens.sample.world import plan_items


@pytest.mark.slow
def test_a_side_network_learns_from_the_states_of_a_random_encoder(tmp_path):
    (tmp_path / "release").mkdir()
    write_tables(tmp_path / "release", plan_items(2023, items=200), users=300, seed=2023)
    convert(tmp_path / "release", SAMPLE, tmp_path)
    settings = {
        "data_path": tmp_path,
        "checkpoint_dir": tmp_path / "runs",
        "finetune": "side",
        "encoder_learning_rate": 3e-3,
        "epochs": 6,
        "use_gpu": False,
        "worker": 0,
        "show_progress": False,
        "state": "ERROR",
    }
    words = [f"--{key}={value}" for key, value in settings.items()]
    assert not main(["run", "--model=SASRecT", f"--dataset={SAMPLE}", *words])
    (path,) = (tmp_path / "runs").rglob("result.json")
    result = json.loads(path.read_text())
    assert result["train_losses"][-1] < result["train_losses"][0] - 0.2
    assert result["test_result"]["hit@20"] > 0.13  # 20 of 200 by chance: 0.1
