"""What the sample's sound says of its items can be learnt; that of other items says less."""

import shutil

import pytest

from recbole_microlens.media.environments import reading
from recbole_microlens.media.partial import PartialStore
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.store_meta import bare_parameters, records
from recbole_microlens.quick_start import run
from recbole_microlens.sample.dataset import SAMPLE, make_sample


def _with_the_sound_of_others(data, out):
    """The same dataset, in which every item has the sound of the item a third of them further on."""
    shutil.copytree(
        data / SAMPLE, out / SAMPLE, ignore=shutil.ignore_patterns("audio.lmdb", "activation_cache")
    )
    store = MediaStore(data / SAMPLE / "audio.lmdb")
    with reading(store.path), records(store.environments()) as found:
        stored = {key.decode(): bytes(value) for key, value in found}
    ids = sorted(stored)
    partial = PartialStore(
        out / SAMPLE / "audio.lmdb", bare_parameters(store.meta), copy_from=None, fresh=True
    )
    for place, item in enumerate(ids):
        partial.put(item, stored[ids[(place + len(ids) // 3) % len(ids)]])
    partial.finish()
    partial.close()
    return out


@pytest.mark.slow
def test_a_model_that_listens_finds_what_the_sound_says(tmp_path):
    data = make_sample(tmp_path / "data", progress=False).parent
    others = _with_the_sound_of_others(data, tmp_path / "others")
    found = {}
    for name, folder in (("own", data), ("others'", others)):
        settings = {
            "data_path": str(folder),
            "checkpoint_dir": str(tmp_path / "runs"),
            "show_progress": False,
        }
        settings |= {"use_gpu": False, "worker": 0, "state": "WARNING"}
        found[name] = run("SASRecA", SAMPLE, config_dict=settings)["test_result"]["hit@10"]
    assert found["own"] > 1.5 * found["others'"], found  # 0.230 and 0.123 where it was written
