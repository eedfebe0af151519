"""Features that several processes extract are, once merged, those of one."""

import json

import numpy as np
import pytest

from recbole_microlens import cli
from recbole_microlens.errors import MicroLensError
from recbole_microlens.export.feature_shards import folder_of, merge_features, shard_file
from recbole_microlens.export.features import extract
from recbole_microlens.media.shards import Shard
from recbole_microlens.release.item_ids import read_item_ids


@pytest.fixture
def quick(settings, tiny_encoders):
    """Settings of an extraction from the 20 items of ``tiny``: seven batches of three."""
    return {
        "data_path": settings["data_path"],
        "use_gpu": False,
        "worker": 0,
        "encode_batch_size": 3,
        "frame_size": 32,
        "num_frames": 2,
        "encoder_weights": "none",
        "seed": 3,
    }


def extracted(quick, path, shard=None, **more):
    return extract("tiny", "tiny_video", out=path, settings=quick | more, progress=False, shard=shard)


@pytest.fixture
def item_ids(tiny_data):
    return read_item_ids(tiny_data / "tiny", "tiny")


def test_merged_features_are_those_of_one_process(quick, item_ids, tmp_path):
    one = extracted(quick, tmp_path / "one.npy")
    path = tmp_path / "many.npy"
    shards = [extracted(quick, path, Shard(number, 3)) for number in (3, 1, 2)]
    assert shards[0] == shard_file(path, Shard(3, 3)) and not path.exists()
    assert sorted(len(np.load(shard)) for shard in shards) == [6, 6, 8]
    assert merge_features(path, item_ids) == 20
    np.testing.assert_array_equal(np.load(path), np.load(one))
    assert json.loads(path.with_suffix(".json").read_text()) == json.loads(
        one.with_suffix(".json").read_text()
    )
    assert not folder_of(path).exists()


def test_missing_and_other_shards_are_named_and_nothing_is_written(quick, item_ids, tmp_path):
    path = tmp_path / "f.npy"
    with pytest.raises(MicroLensError, match="holds no shards"):
        merge_features(path, item_ids)
    extracted(quick, path, Shard(2, 3))
    with pytest.raises(MicroLensError, match=r"of 3 shards these are missing: 1, 3\. .*--shard 1/3"):
        merge_features(path, item_ids)
    extracted(quick, path, Shard(1, 2))
    with pytest.raises(MicroLensError, match="shards of 2 and of 3"):
        merge_features(path, item_ids)
    shard_file(path, Shard(2, 3)).unlink()
    extracted(quick, path, Shard(2, 2), seed=4)
    with pytest.raises(MicroLensError, match="shard 2 differs from shard 1 in encoder_fingerprint"):
        merge_features(path, item_ids)
    with pytest.raises(MicroLensError, match="are not of the 19 items"):
        merge_features(path, item_ids[1:])
    assert not path.exists()


def test_more_parts_than_batches_are_refused(quick, tmp_path):
    with pytest.raises(MicroLensError, match="only 7 batches of 3. Choose at most 7 parts"):
        extracted(quick, tmp_path / "f.npy", Shard(1, 8))


def test_the_command_line_merges_features(quick, tiny_data, tmp_path, capsys):
    path = tmp_path / "f.npy"
    for number in (1, 2):
        extracted(quick, path, Shard(number, 2))
    words = ["merge", "tiny", "--data-path", str(tiny_data), "--features", str(path)]
    assert cli.main([*words, "--video"]) == 2
    assert cli.main(words) == 0
    assert f"{path}: 20 items" in capsys.readouterr().out and path.is_file()
