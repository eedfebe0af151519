"""What a run reads has a fingerprint: the same for the same bytes, another in the part that changes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY_CONTENT

from recbole_microlens.config import Config
from recbole_microlens.data.fingerprint import dataset_fingerprint
from recbole_microlens.media.build import build_covers
from recbole_microlens.media.store import MediaStore
from recbole_microlens.release.item_ids import read_item_ids
from recbole_microlens.release.layout import find_release


@pytest.fixture
def own_copy(tiny_data, tmp_path):
    """Return a function (model, settings) -> fingerprint of a copy of ``tiny``, and the copy's folder."""
    folder = tmp_path / "data" / "tiny"
    shutil.copytree(tiny_data / "tiny", folder)

    def fingerprint(model, **more):
        given = {"data_path": str(folder.parent), "use_gpu": False, "checkpoint_dir": str(tmp_path)}
        return dataset_fingerprint(Config(model, "tiny", config_dict=given | more))

    return fingerprint, folder


def test_parts_are_those_that_the_model_reads(own_copy, tiny_data):
    fingerprint, folder = own_copy
    atomic = fingerprint("SASRec")
    assert set(atomic) == {"inter", "item"}
    video = fingerprint("SASRecV", **TINY_CONTENT)
    assert video == atomic | {"video": MediaStore(folder / "video.lmdb").meta.identity}
    image = fingerprint("SASRecI", image_encoder="resnet18")
    assert image == atomic | {"image": MediaStore(folder / "cover.lmdb").meta.identity}
    assert fingerprint("SASRecID") == fingerprint("BPR") == fingerprint("SASRecT") == atomic
    again = {"data_path": str(tiny_data), "use_gpu": False}
    assert dataset_fingerprint(Config("SASRec", "tiny", config_dict=again)) == atomic


def test_a_changed_byte_changes_its_part_alone(own_copy):
    fingerprint, folder = own_copy
    before = fingerprint("SASRecV", **TINY_CONTENT)
    with Path(folder / "tiny.inter").open("a") as file:
        file.write("1\t1\t99999\n")
    after = fingerprint("SASRecV", **TINY_CONTENT)
    assert {name for name in before if before[name] != after[name]} == {"inter"}


def test_a_rebuilt_store_and_other_features_are_other_data(own_copy, tiny_release, tmp_path):
    fingerprint, folder = own_copy
    before = fingerprint("SASRecI", image_encoder="resnet18")
    items = read_item_ids(folder, "tiny")
    covers = find_release(tiny_release).covers
    build_covers(covers, items, folder / "cover.lmdb", size=24, workers=1, progress=False, overwrite=True)
    after = fingerprint("SASRecI", image_encoder="resnet18")
    assert {name for name in before if before[name] != after[name]} == {"image"}

    path = tmp_path / "features.npy"
    found = []
    for value in (0.0, 1.0, 1.0):
        np.save(path, np.full((20, 4), value, dtype=np.float32))
        found.append(fingerprint("SASRecV", features=str(path)))
    assert found[0] != found[1] == found[2] and set(found[0]) == {"inter", "item", "video"}
