"""A media store gives back what was put in, to any number of processes, and refuses what is not a store."""

import json
import multiprocessing
import os
import pickle

import lmdb
import numpy as np
import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.partial import PartialStore
from recbole_microlens.media.store import META_KEY, MediaStore, StoreMeta, decode_value, encode_value

PARAMETERS = StoreMeta("video", num_frames=3, size=32, interval=1, quality=90, source="videos in /x")


def _frames(seed, size=32):
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.BICUBIC)) for c in coarse])


def _build(path, item_ids=("1", "2", "x-3", "naïve 4")):
    partial = PartialStore(path, PARAMETERS, copy_from=None, fresh=True)
    for seed, item_id in enumerate(item_ids):
        partial.put(item_id, encode_value(_frames(seed)))
    partial.finish()
    partial.close()
    return path


@pytest.fixture
def path(tmp_path):
    return _build(tmp_path / "video.lmdb")


def _edit(path, changes):
    with (
        lmdb.open(str(path), subdir=False, lock=False, map_size=1 << 24) as env,
        env.begin(write=True) as txn,
    ):
        for key, value in changes.items():
            txn.put(key, value) if value is not None else txn.delete(key)


def test_frames_come_back_as_they_were_but_for_jpeg_loss(path):
    store = MediaStore(path)
    assert (store.meta.num_frames, store.meta.size, store.meta.complete) == (3, 32, True)
    assert len(store) == 4 and set(store) == {"1", "2", "x-3", "naïve 4"}
    for seed, item_id in enumerate(["1", "2", "x-3", "naïve 4"]):
        frames = store.read(item_id)
        assert frames.shape == (3, 32, 32, 3) and frames.dtype == np.uint8
        error = frames.astype(float) - _frames(seed)
        assert np.sqrt(np.mean(error**2)) < 12


def test_unknown_items_are_absent_and_the_meta_record_is_no_item(path):
    store = MediaStore(path)
    assert "1" in store
    for item_id in ["5", "", "__meta__", "y" * 600]:
        assert item_id not in store and store.read(item_id) is None


@pytest.mark.parametrize("size", [8, 11, 16, 32, 48])
def test_another_size_is_the_same_picture(path, size):
    frames = MediaStore(path).read("2", size=size)
    assert frames.shape == (3, size, size, 3)
    expected = [Image.fromarray(f).resize((size, size), Image.BICUBIC) for f in _frames(1)]
    assert np.abs(frames.astype(float) - np.stack([np.asarray(f) for f in expected])).mean() < 10


def test_value_of_another_length_than_its_header_says_is_malformed():
    value = encode_value(_frames(0))
    assert decode_value(value).shape == (3, 32, 32, 3)
    for wrong in [b"", value[:10], value[:-1], value + b"x", b"XXXX" + value[4:]]:
        with pytest.raises(ValueError, match="header|format"):
            decode_value(wrong)


def _read_everything(store, results=None):
    total = sum(int(store.read(item_id).sum()) for item_id in store)
    if results is not None:
        results.put(total)
    return total


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_processes_read_one_store_at_the_same_time(path, method):
    store = MediaStore(path)
    expected = _read_everything(store)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    readers = [context.Process(target=_read_everything, args=(store, results)) for _ in range(3)]
    for reader in readers:
        reader.start()
    assert [results.get(timeout=20) for _ in readers] == [expected] * 3
    for reader in readers:
        reader.join()
    assert _read_everything(store) == expected
    assert os.listdir(path.parent) == ["video.lmdb"]  # no lock file


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_child_may_open_the_store_of_its_parent_again(path):
    store = MediaStore(path)

    inherited = store.environments()[0]

    def child(results):
        assert store.environments()[0] is not inherited  # LMDB forbids using one across a fork
        results.put([_read_everything(MediaStore(path)), _read_everything(store)])

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    process = context.Process(target=child, args=(results,))
    process.start()
    assert results.get(timeout=20) == [_read_everything(store)] * 2
    process.join()


def test_two_stores_of_one_file_share_it_in_one_process(path):
    first, second = MediaStore(path), MediaStore(path)
    np.testing.assert_array_equal(first.read("1"), second.read("1"))
    del first
    assert second.read("2") is not None


def test_pickle_holds_no_open_file(path):
    store = MediaStore(path)
    copy = pickle.loads(pickle.dumps(store))
    assert not copy._opened
    np.testing.assert_array_equal(copy.read("1"), store.read("1"))


def test_reader_keeps_the_old_content_while_a_store_is_replaced(path):
    store = MediaStore(path)
    before = store.read("1")
    _build(path, ["9", "1"])
    np.testing.assert_array_equal(store.read("1"), before)
    assert "9" in MediaStore(path) and "2" not in MediaStore(path)


def test_identity_is_that_of_the_content(tmp_path):
    one, same, other = (
        MediaStore(_build(tmp_path / name, ids)).meta
        for name, ids in [("a.lmdb", ["1", "2"]), ("b.lmdb", ["1", "2"]), ("c.lmdb", ["2", "1"])]
    )
    assert one.identity == same.identity != other.identity


def test_what_is_no_store_is_refused_with_the_command_that_builds_one(path, tmp_path):
    garbage, empty = tmp_path / "g.lmdb", tmp_path / "e.lmdb"
    garbage.write_bytes(b"hello" * 2000)
    empty.touch()
    for wrong, reason in [
        (tmp_path / "video_none.lmdb", "no such store"),
        (garbage, "not an LMDB"),
        (empty, "not an LMDB"),
        (tmp_path, "not an LMDB"),
    ]:
        with pytest.raises(MicroLensError, match=f"{reason}.*recbole-microlens frames"):
            MediaStore(wrong)
    with pytest.raises(MicroLensError, match="recbole-microlens covers"):
        MediaStore(tmp_path / "cover.lmdb")


def test_store_cut_short_is_refused_and_does_not_kill_the_process(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(MicroLensError, match="truncated"):
        MediaStore(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda meta: None, "not a media store"),
        (lambda meta: b"{", "malformed"),
        (lambda meta: b"[1]", "malformed"),
        (lambda meta: json.dumps({**meta, "extra": 1}).encode(), "malformed"),
        (lambda meta: json.dumps({**meta, "size": "32"}).encode(), "wrong type of size"),
        (lambda meta: json.dumps({**meta, "format_version": 99}).encode(), "format version 99"),
        (lambda meta: json.dumps({**meta, "complete": False}).encode(), "unfinished"),
    ],
)
def test_wrong_meta_record_is_refused(path, change, reason):
    meta = json.loads(MediaStore(path).meta.to_json())
    _edit(path, {META_KEY: change(meta)})
    with pytest.raises(MicroLensError, match=f"{path}.*{reason}"):
        MediaStore(path)


def test_damaged_value_is_named_with_its_store_and_item(path):
    _edit(path, {b"2": b"RMLF damaged"})
    store = MediaStore(path)
    assert store.read("1") is not None
    with pytest.raises(MicroLensError, match=f"{path}.*item '2' is damaged"):
        store.read("2")
