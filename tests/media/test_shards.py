"""A store in shards is the store in one file: the same records and identity, whatever died in between."""

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import shards, store_meta
from recbole_microlens.media.build import build_covers, build_frames
from recbole_microlens.media.merge import merge
from recbole_microlens.media.partial import PartialStore, partial_path
from recbole_microlens.media.shards import Shard, folder_of, shard_path
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.store_meta import bare_parameters
from recbole_microlens.media.verify import verify

ITEMS = [f"item{k}" for k in range(40)]
SMALL = {"size": 24, "workers": 1, "progress": False}


@pytest.fixture(scope="module")
def covers(tmp_path_factory):
    """Forty covers, of which one is missing and one is no image."""
    folder = tmp_path_factory.mktemp("covers")
    for k, item in enumerate(ITEMS):
        Image.new("RGB", (30, 40), (6 * k, 255 - 6 * k, 99)).save(folder / f"{item}.jpg")
    (folder / "item7.jpg").unlink()
    (folder / "item9.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def whole(covers, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "cover.lmdb"
    build_covers(covers, ITEMS, path, **SMALL)
    return path


def build(covers, path, *numbers, count=3, **options):
    return [
        build_covers(covers, ITEMS, path, **{**SMALL, **options}, shard=Shard(number, count))
        for number in numbers
    ]


def records(path):
    """Every key and value of a store, whole or in shards, or of one shard."""
    with store_meta.records(MediaStore(path).environments()) as found:
        return {key: bytes(value) for key, value in found}


@pytest.fixture(scope="module")
def sharded(covers, tmp_path_factory):
    path = tmp_path_factory.mktemp("sharded") / "cover.lmdb"
    reports = build(covers, path, 3, 1, 2)
    assert sum(report.stored for report in reports) == 38 and min(report.stored for report in reports) > 5
    return path


def test_shards_hold_each_item_once_and_are_read_as_one_store(sharded, whole):
    one, many = MediaStore(whole), MediaStore(sharded)
    assert many.meta == one.meta and many.meta.count == 38
    assert list(many) == list(one)
    assert records(sharded) == records(whole) and len(many.files) == 3
    for item in ITEMS:
        assert (item in many) == (item in one)
        np.testing.assert_array_equal(many.read(item), one.read(item))
    assert verify(sharded, ITEMS, progress=False, workers=1) == verify(
        whole, ITEMS, progress=False, workers=1
    )


def test_what_failed_in_any_shard_is_in_the_report_of_the_store(sharded, whole):
    def rows(path):
        with (path.parent / "covers_report.csv").open(newline="", encoding="utf-8") as file:
            return sorted(csv.reader(file))

    assert rows(sharded) == rows(whole) and len(rows(whole)) == 3


def test_a_store_whose_shards_are_missing_or_unfinished_names_them(covers, tmp_path):
    path = tmp_path / "cover.lmdb"
    build(covers, path, 2, count=4)
    meta = MediaStore(shard_path(path, Shard(2, 4))).meta
    running = PartialStore(shard_path(path, Shard(3, 4)), bare_parameters(meta), copy_from=None, fresh=True)
    running.close()
    with pytest.raises(
        MicroLensError, match=r"of 4 shards .* 1 \(missing\), 3 \(unfinished\), 4 \(missing\)"
    ):
        MediaStore(path)
    with pytest.raises(MicroLensError, match="--shard 1/4"):
        merge(path)
    assert not path.exists()


def test_merged_shards_are_the_store_byte_for_byte_and_go_away(covers, whole, tmp_path):
    path = tmp_path / "cover.lmdb"
    build(covers, path, 1, 2, 3)
    assert merge(path, keep_shards=True, progress=False) == MediaStore(whole).meta
    assert records(path) == records(whole) and len(MediaStore(path).files) == 1
    merge(path, progress=False)  # as after a kill between the two steps
    assert not folder_of(path).exists()
    assert build_covers(covers, ITEMS, path, **SMALL).built == 0


def test_a_merge_into_another_store_is_refused(covers, tmp_path):
    path, other = tmp_path / "cover.lmdb", tmp_path / "other" / "cover.lmdb"
    build(covers, path, 1, 2)
    build_covers(covers, ITEMS[:5], other, **SMALL)
    build(covers, path, 3)
    other.rename(path)
    with pytest.raises(MicroLensError, match="does not hold what the shards"):
        merge(path, progress=False)
    assert len(shards.files_of(path)) == 1 and folder_of(path).is_dir()


def test_a_shard_that_gets_what_it_lacked_changes_the_identity(covers, whole, tmp_path):
    folder, path = tmp_path / "covers", tmp_path / "cover.lmdb"
    folder.mkdir()
    for file in covers.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    build(folder, path, 1, 2, 3)
    before = MediaStore(path).meta
    Image.new("RGB", (30, 40)).save(folder / "item7.jpg")
    (lacking,) = [number for number in (1, 2, 3) if Shard(number, 3).holds("item7")]
    (report,) = build(folder, path, lacking)
    after = MediaStore(path).meta
    assert report.built == 1 and (before.count, after.count) == (38, 39)
    assert after.identity != before.identity
    unsharded = tmp_path / "unsharded" / "cover.lmdb"
    build_covers(folder, ITEMS, unsharded, **SMALL)
    assert after.identity == MediaStore(unsharded).meta.identity


def test_the_identity_is_read_once_and_a_damaged_note_of_it_is_not_believed(covers, tmp_path, monkeypatch):
    path = tmp_path / "cover.lmdb"
    build(covers, path, 1, 2, 3)
    identity = MediaStore(path).meta.identity
    note = folder_of(path) / "store.json"
    for content in ("{", "[]", json.dumps({"identity": "x", "shards": ["a"]})):
        note.write_text(content)
        assert MediaStore(path).meta.identity == identity
    monkeypatch.setattr(shards, "content_identity", None)
    assert MediaStore(path).meta.identity == identity


def test_shards_of_other_parameters_or_divisions_are_not_mixed(covers, tmp_path):
    path = tmp_path / "cover.lmdb"
    build(covers, path, 1, count=2)
    with pytest.raises(MicroLensError, match="in 2 shards, not in 3"):
        build(covers, path, 2)
    with pytest.raises(MicroLensError, match="in 2 shards. Continue with --shard I/2"):
        build_covers(covers, ITEMS, path, **SMALL)
    with pytest.raises(MicroLensError, match="shard 2 was built with another size than shard 1"):
        build(covers, path, 2, count=2, size=16)
    with pytest.raises(MicroLensError, match="another size"):
        MediaStore(path)
    shard_path(path, Shard(1, 2)).rename(shard_path(path, Shard(1, 5)))
    with pytest.raises(MicroLensError, match="holds shards of 2 and of 5"):
        MediaStore(path)


def test_a_whole_store_is_not_built_again_in_shards(whole, covers):
    with pytest.raises(MicroLensError, match="is there in one file"):
        build(covers, whole, 1)


def test_verify_names_the_shard_that_holds_something_else(covers, tmp_path):
    path = tmp_path / "cover.lmdb"
    build(covers, path, 1, 2, 3)
    damaged = shard_path(path, Shard(2, 3))
    values = list(records(damaged).items())
    with (
        lmdb.open(str(damaged), subdir=False, lock=False, map_size=1 << 24) as env,
        env.begin(write=True) as txn,
    ):
        txn.put(values[0][0], values[1][1])
    (problem,) = verify(path, progress=False, workers=1)
    assert problem.item_id == "" and problem.reason.startswith("2-of-3.lmdb: its content is not")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/513", "1", "a/b", "-1/4", "1/4/2", "1/0", ""])
def test_a_wrong_shard_is_refused_with_an_example(text):
    with pytest.raises(MicroLensError, match="--shard"):
        Shard.parse(text)


def test_items_are_shared_out_evenly():
    counts = [sum(Shard(number, 8).holds(str(k)) for k in range(8000)) for number in range(1, 9)]
    assert sum(counts) == 8000 and max(counts) < 1.2 * min(counts)


KILLED = """
import os, signal, sys
from recbole_microlens.media import partial
from recbole_microlens.media.build import build_frames
from recbole_microlens.media.shards import Shard

partial.BATCH_ITEMS = 1
put = partial.PartialStore.put

def dying(self, item, value):
    put(self, item, value)
    if len(self.item_ids) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

partial.PartialStore.put = dying
folder, out = sys.argv[1:]
ids = [str(k) for k in range(12)]
build_frames(folder, ids, out, size=24, workers=1, progress=False, shard=Shard(1, 2))
"""


def test_a_shard_that_was_killed_continues_and_the_store_is_the_same(tmp_path, video_bytes):
    videos, path, one = tmp_path / "videos", tmp_path / "video.lmdb", tmp_path / "one" / "video.lmdb"
    videos.mkdir()
    for k in range(12):
        (videos / f"{k}.mp4").write_bytes(video_bytes)
    command = [sys.executable, "-c", KILLED, str(videos), str(path)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert partial_path(shard_path(path, Shard(1, 2))).exists()
    ids = [str(k) for k in range(12)]
    first, second = (build_frames(videos, ids, path, **SMALL, shard=Shard(n, 2)) for n in (1, 2))
    assert first.built == first.stored - 3 and first.stored + second.stored == 12
    build_frames(videos, ids, one, **SMALL)
    assert MediaStore(path).meta == MediaStore(one).meta
    assert records(path) == records(one)
