"""A tiny converted dataset with real videos, made once for all tests that train on it."""

from pathlib import Path

import pytest

from recbole_microlens.media.build import build_covers, build_frames
from recbole_microlens.release.atomic import convert
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.layout import find_release
from recbole_microlens.release.sample import write_release

TINY_CONTENT = {
    "encoder": "x3d_xs",
    "encoder_weights": "none",
    "finetune": "full",
    "num_frames": 2,
    "frame_size": 32,
    "hidden_size": 16,
    "inner_size": 32,
    "learning_rate": 1e-3,
    "encoder_learning_rate": 1e-3,
    "train_batch_size": 12,
    "worker": 0,
}


@pytest.fixture(scope="session")
def tiny_release(tmp_path_factory) -> Path:
    """A release folder of 24 users and 20 videos."""
    return write_release(tmp_path_factory.mktemp("tiny") / "release", users=24, items=20, progress=False)


@pytest.fixture(scope="session")
def tiny_data(tiny_release, tmp_path_factory) -> Path:
    """A ``data_path`` with the dataset ``tiny`` and its stores: two frames and a cover of 32 x 32 an item."""
    out = tmp_path_factory.mktemp("dataset_atomic")
    convert(tiny_release, "tiny", out)
    folder, release = out / "tiny", find_release(tiny_release)
    items = read_item_ids(folder, "tiny")
    build_frames(
        release.videos, items, folder / "video.lmdb", num_frames=2, size=32, workers=1, progress=False
    )
    build_covers(release.covers, items, folder / "cover.lmdb", size=32, workers=1, progress=False)
    return out


@pytest.fixture
def settings(tiny_data, tmp_path) -> dict:
    """Settings of a short, quiet run of any model on ``tiny``."""
    return {
        "data_path": str(tiny_data),
        "checkpoint_dir": str(tmp_path / "runs"),
        "show_progress": False,
        "use_gpu": False,
        "state": "WARNING",
        "epochs": 2,
    }


@pytest.fixture
def content_settings(settings) -> dict:
    """Settings of a short, quiet run of SASRecV on ``tiny``."""
    return settings | TINY_CONTENT


@pytest.fixture
def write_inter(tmp_path):
    """Return a function (name, rows of user, item, time) -> ``data_path`` that holds ``<name>.inter``."""

    def write(name: str, rows) -> Path:
        folder = tmp_path / "dataset_atomic" / name
        folder.mkdir(parents=True)
        lines = ["user_id:token\titem_id:token\ttimestamp:float"]
        lines += ["\t".join(map(str, row)) for row in rows]
        (folder / f"{name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder.parent

    return write
