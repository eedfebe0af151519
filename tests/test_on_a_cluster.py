"""Features and activation caches that tasks of a Ray cluster make are those of one process."""

import json

import numpy as np
import pytest
import torch

from recbole_microlens.caching import build_caches, build_caches_on
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.feature_shards import folder_of
from recbole_microlens.export.feature_tasks import extract_on
from recbole_microlens.export.features import extract
from recbole_microlens.media.ray_engine import RayEngine

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two cores for tasks."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=1 << 27,
        log_to_driver=False,
        runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


@pytest.fixture
def one_thread():
    """As a task has: sums in another order differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_features_are_those_of_one_process(settings, tmp_path, one_thread):
    chosen = {
        "data_path": settings["data_path"],
        "use_gpu": False,
        "worker": 0,
        "encode_batch_size": 3,
        "frame_size": 32,
        "num_frames": 2,
        "encoder_weights": "none",
    }
    asked = {"encoder": "x3d_xs", "settings": chosen, "progress": False}
    one = extract("tiny", out=tmp_path / "one.npy", **asked)
    many = extract_on(RayEngine(), 3, "tiny", out=tmp_path / "many.npy", **asked)
    assert many == tmp_path / "many.npy" and not folder_of(many).exists()
    np.testing.assert_array_equal(np.load(many), np.load(one))
    said = [json.loads(path.with_suffix(".json").read_text()) for path in (many, one)]
    assert said[0] == said[1]
    with pytest.raises(MicroLensError, match="only 7 batches of 3"):
        extract_on(RayEngine(), 8, "tiny", out=tmp_path / "many.npy", **asked)


def test_a_cache_is_that_of_one_process(content_settings, tmp_path, one_thread):
    chosen = content_settings | {"finetune": "frozen", "encode_batch_size": 3}
    files = []
    for name in ("one", "many"):
        asked = ("SASRecV", "tiny", None, chosen | {"activation_cache": str(tmp_path / name)})
        engine = RayEngine() if name == "many" else None
        found = build_caches(*asked) if engine is None else build_caches_on(engine, 3, *asked, progress=False)
        folder = found["video"]
        assert folder.parent == tmp_path / name
        files.append({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "used.json"})
        assert build_caches(*asked) == found
    assert files[0] == files[1]
