"""Finished runs to ask, away from the data that they were trained on."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import WITHOUT_DROPOUT

from recbole_microlens.quick_start import load, run
from recbole_microlens.release.item_ids import read_item_ids

SMALL = {
    "hidden_size": 16,
    "inner_size": 16,
    "embedding_size": 16,
    "train_batch_size": 12,
    "worker": 0,
    "learning_rate": 0.01,
    "epochs": 2,
}


@pytest.fixture
def small(settings) -> dict:
    """Settings of a run on ``tiny`` of any model, in a second."""
    return settings | WITHOUT_DROPOUT | SMALL


@pytest.fixture
def features(settings, tmp_path) -> str:
    """A file of random features of the items of ``tiny``, as the MicroLens authors publish theirs."""
    items = read_item_ids(Path(settings["data_path"]) / "tiny", "tiny")
    rows = np.random.default_rng(0).normal(size=(max(map(int, items)), 6)).astype(np.float32)
    np.save(tmp_path / "features.npy", rows)
    return str(tmp_path / "features.npy")


@pytest.fixture
def moved(tmp_path):
    """Return a function: run a model, and load it from a copy of its folder, its dataset out of sight."""

    def make(model, settings, **arguments):
        result = run(model, "tiny", config_dict=settings)
        folder = tmp_path / "elsewhere" / Path(result["folder"]).name
        shutil.copytree(result["folder"], folder)
        own = arguments.pop("own", {})
        loaded = load(folder, data_path=tmp_path / "nothing here", device="cpu", **arguments, **own)
        return loaded, result

    return make
