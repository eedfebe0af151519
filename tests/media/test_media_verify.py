"""Verify decodes every value and names what is wrong with which item."""

import dataclasses

import lmdb
import numpy as np
import pytest

from recbole_microlens.media.partial import PartialStore
from recbole_microlens.media.store import META_KEY, MediaStore, StoreMeta, encode_value
from recbole_microlens.media.verify import Problem, verify

PARAMETERS = StoreMeta("video", num_frames=2, size=16, interval=1, quality=90, source="videos in /x")


@pytest.fixture
def path(tmp_path):
    store = PartialStore(tmp_path / "video.lmdb", PARAMETERS, copy_from=None, fresh=True)
    for item in range(40):
        store.put(str(item), encode_value(np.full((2, 16, 16, 3), item, np.uint8)))
    store.finish()
    store.close()
    return tmp_path / "video.lmdb"


def _edit(path, change):
    with (
        lmdb.open(str(path), subdir=False, lock=False, map_size=1 << 24) as env,
        env.begin(write=True) as txn,
    ):
        change(txn)


def test_sound_store_has_no_problems(path):
    assert verify(path, [str(item) for item in range(40)], progress=False) == []


def test_damaged_and_missing_items_are_named_with_their_reason(path):
    def damage(txn):
        value = bytearray(txn.get(b"7"))
        value[16 : len(value) - 10] = bytes(len(value) - 26)
        txn.put(b"7", bytes(value))
        txn.put(b"8", b"x")
        txn.put(b"9", encode_value(np.zeros((3, 16, 16, 3), np.uint8)))

    _edit(path, damage)
    problems = verify(path, ["1", "41"], progress=False, workers=1)
    assert [problem.item_id for problem in problems] == ["7", "8", "9", "41"]
    assert "damaged" in problems[0].reason and "shorter than its header" in problems[1].reason
    assert "(3, 16, 16, 3)" in problems[2].reason
    assert problems[3] == Problem("41", "missing from the store")


def test_value_exchanged_for_another_sound_one_is_noticed(path):
    _edit(path, lambda txn: txn.put(b"7", encode_value(np.full((2, 16, 16, 3), 99, np.uint8))))
    (problem,) = verify(path, progress=False, workers=1)
    assert problem.item_id == "" and "hash" in problem.reason


def test_wrong_count_is_noticed(path):
    meta = dataclasses.replace(MediaStore(path).meta, count=3)
    _edit(path, lambda txn: txn.put(META_KEY, meta.to_json()))
    assert "holds 40 items" in verify(path, progress=False, workers=1)[0].reason
