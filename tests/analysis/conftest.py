"""Finished runs on the tiny dataset, made once for all tests that look at runs."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import TINY_CONTENT

from recbole_microlens.quick_start import run


@pytest.fixture(scope="session")
def finished(tiny_data, tmp_path_factory) -> SimpleNamespace:
    """Run folders of SASRecID, SASRecV, and BPR, which knows a user by id; nothing may write to them."""
    folder = tmp_path_factory.mktemp("finished")
    chosen = {
        "data_path": str(tiny_data),
        "checkpoint_dir": str(folder),
        "show_progress": False,
        "use_gpu": False,
        "state": "WARNING",
        "epochs": 2,
        "metrics": ["Hit", "NDCG", "ItemCoverage", "GiniIndex"],
        "topk": [5],
        "valid_metric": "Hit@5",
    }
    settings = {"SASRecID": TINY_CONTENT | chosen, "SASRecV": TINY_CONTENT | chosen, "BPR": chosen}
    results = {model: run(model, "tiny", config_dict=given) for model, given in settings.items()}
    return SimpleNamespace(
        results=results, **{model: Path(result["folder"]) for model, result in results.items()}
    )


@pytest.fixture
def copied(finished, tmp_path):
    """Return a function model -> a copy of its run's folder, to be damaged."""

    def copy(model, name="copy") -> Path:
        return Path(shutil.copytree(getattr(finished, model), tmp_path / name / model))

    return copy
