"""A build survives bad files, kills and reruns, and its store appears complete or not at all."""

import csv
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import partial
from recbole_microlens.media.build import build_covers, build_frames
from recbole_microlens.media.partial import PartialStore, partial_path
from recbole_microlens.media.report import by_reason
from recbole_microlens.media.store import META_KEY, MediaStore
from recbole_microlens.media.verify import verify

NO_IMAGE = "not an image: neither JPEG nor PNG nor WebP"
SMALL = {"size": 64, "workers": 2, "progress": False}


@pytest.fixture
def videos(tmp_path, write_video):
    """A folder of eight videos: item k has 20 + 2 k frames, so that the middle one is 10 + k."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for item in range(1, 9):
        write_video(folder / f"{item}.mp4", num_frames=20 + 2 * item)
    return folder


def _items(count=8):
    return [str(item) for item in range(1, count + 1)]


def _content(path):
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as env, env.begin() as txn:
        return {key: value for key, value in txn.cursor() if key != META_KEY}


def _report(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_item_gets_its_own_middle_frames(videos, tmp_path, ordinal_of):
    done = build_frames(videos, _items(), tmp_path / "video.lmdb", **SMALL)
    assert (done.stored, done.built, done.failed) == (8, 8, [])
    assert done.bytes == (tmp_path / "video.lmdb").stat().st_size and done.frames_per_second > 0
    store = MediaStore(tmp_path / "video.lmdb")
    assert store.meta.source == f"videos in {videos}"
    for item in _items():
        assert [ordinal_of(frame) for frame in store.read(item)] == [8 + int(item) + k for k in range(5)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["frames_report.csv", "video.lmdb", "videos"]
    assert _report(done.report) == []


def test_bad_files_are_listed_with_their_reason_and_stop_nothing(videos, tmp_path, video_bytes):
    bad = {"empty": b"", "text": b"<html>404</html>" * 20, "cut": video_bytes[: len(video_bytes) // 2]}
    for item, content in bad.items():
        (videos / f"{item}.mp4").write_bytes(content)
    ids = [*_items(), *bad, "absent", "", "__meta__", "l" * 600, "1"]
    done = build_frames(videos, ids, tmp_path / "video.lmdb", **SMALL)
    assert done.stored == 8
    rows = {row["item_id"]: row for row in _report(tmp_path / "frames_report.csv")}
    assert list(rows) == ids[8:-1] == [item for item, _ in done.failed]
    for item, reason in [
        ("empty", "empty file"),
        ("text", "not a video"),
        ("cut", "truncated"),
        ("absent", "missing"),
        ("", "empty"),
        ("__meta__", "reserved"),
        ("l" * 600, "longer than 511 bytes"),
    ]:
        assert reason in rows[item]["reason"]
    assert rows["cut"]["file"] == str(videos / "cut.mp4")


KILLED_BUILD = """
import sys
from recbole_microlens.media import build, partial, workers

partial.BATCH_ITEMS = 4
put, start = partial.PartialStore.put, workers._start

def reporting_put(self, item_id, value):
    put(self, item_id, value)
    print("put", len(self.item_ids), flush=True)

def reporting_start(*arguments):
    worker = start(*arguments)
    print("worker", worker.process.pid, flush=True)
    return worker

if __name__ == "__main__":
    partial.PartialStore.put, workers._start = reporting_put, reporting_start
    folder, out, count = sys.argv[1:]
    ids = [str(k) for k in range(1, int(count) + 1)]
    build.build_frames(folder, ids, out, size=64, workers=2, progress=False)
"""


def _run_until_put(count, number, tmp_path, videos, out, send):
    """Start a build in its own process, signal it once ``number`` items are put; returns its workers."""
    script = tmp_path / "killed_build.py"
    script.write_text(KILLED_BUILD)
    command = [sys.executable, str(script), str(videos), str(out), str(count)]
    pids = []
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            word, value = line.split()
            if word == "worker":
                pids.append(int(value))
            elif int(value) == number:
                process.send_signal(send)
                break
            assert not out.exists()
        process.wait(timeout=20)
    return pids


def _gone_within(pids, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(os.path.exists(f"/proc/{pid}") for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("send", [signal.SIGKILL, signal.SIGINT])
def test_killed_build_resumes_and_equals_an_unbroken_one(send, videos, tmp_path):
    for item in range(9, 61):
        os.link(videos / f"{1 + item % 8}.mp4", videos / f"{item}.mp4")
    (videos / "3.mp4").unlink()
    (videos / "3.mp4").write_bytes(b"not a video")
    out, unbroken = tmp_path / "killed" / "video.lmdb", tmp_path / "unbroken" / "video.lmdb"
    out.parent.mkdir()
    pids = _run_until_put(60, 22, tmp_path, videos, out, send)
    assert len(pids) == 2 and _gone_within(pids, 10)
    assert not out.exists() and partial_path(out).exists()

    resumed = build_frames(videos, _items(60), out, **SMALL)
    whole = build_frames(videos, _items(60), unbroken, **SMALL)
    assert resumed.stored == whole.stored == 59
    assert 0 < resumed.built <= 59 - 16 < whole.built
    assert [item for item, _ in resumed.failed] == ["3"]
    assert _content(out) == _content(unbroken)
    assert MediaStore(out).meta == MediaStore(unbroken).meta
    assert not partial_path(out).exists()


def test_finished_store_is_left_alone(videos, tmp_path):
    out = tmp_path / "video.lmdb"
    build_frames(videos, _items(), out, **SMALL)
    before = out.stat()
    again = build_frames(videos, _items(), out, **SMALL)
    assert (again.stored, again.built) == (8, 0)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_finished_store_gets_the_items_it_lacks_and_those_that_were_repaired(videos, tmp_path, video_bytes):
    out = tmp_path / "video.lmdb"
    (videos / "3.mp4").write_bytes(b"")
    first = build_frames(videos, _items(5), out, **SMALL)
    assert (first.stored, [item for item, _ in first.failed]) == (4, ["3"])
    before, old = out.stat().st_ino, MediaStore(out).meta.identity
    again = build_frames(videos, _items(5), out, **SMALL)
    assert (again.stored, again.built, [item for item, _ in again.failed]) == (4, 0, ["3"])
    assert out.stat().st_ino == before and not partial_path(out).exists()
    (videos / "3.mp4").write_bytes(video_bytes)
    second = build_frames(videos, _items(), out, **SMALL)
    assert (second.stored, second.built, second.failed) == (8, 4, [])
    assert MediaStore(out).meta.identity != old
    assert _report(second.report) == []


def test_failures_are_not_tried_again_within_one_build_that_is_resumed(videos, tmp_path, video_bytes):
    (videos / "3.mp4").write_bytes(b"")
    out = tmp_path / "video.lmdb"
    _run_until_put(8, 5, tmp_path, videos, out, signal.SIGINT)
    (videos / "3.mp4").write_bytes(video_bytes)
    assert [item for item, _ in build_frames(videos, _items(), out, **SMALL).failed] == ["3"]


@pytest.mark.parametrize("unfinished", [True, False])
def test_other_parameters_start_anew_with_one_warning(unfinished, videos, tmp_path, caplog):
    out = tmp_path / "video.lmdb"
    if unfinished:
        _run_until_put(8, 5, tmp_path, videos, out, signal.SIGKILL)
    else:
        build_frames(videos, _items(), out, **SMALL)
    with caplog.at_level(logging.WARNING):
        done = build_frames(videos, _items(), out, **{**SMALL, "size": 32})
    assert done.built == 8 and MediaStore(out).read("1").shape == (5, 32, 32, 3)
    assert len(caplog.records) == 1
    assert "size was 64, now 32" in caplog.text


def test_overwrite_builds_everything_again(videos, tmp_path, video_bytes, ordinal_of):
    out = tmp_path / "video.lmdb"
    build_frames(videos, _items(), out, **SMALL)
    (videos / "1.mp4").write_bytes(video_bytes)
    assert build_frames(videos, _items(), out, overwrite=True, **SMALL).built == 8
    assert ordinal_of(MediaStore(out).read("1")[2]) == 20


def test_unreadable_partial_is_thrown_away(videos, tmp_path, caplog):
    out = tmp_path / "video.lmdb"
    partial_path(out).write_bytes(b"garbage" * 1000)
    assert build_frames(videos, _items(), out, **SMALL).stored == 8
    assert "cannot be read" in caplog.text


def test_store_grows_past_the_first_map(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(partial, "FIRST_MAP_BYTES", 1 << 15)
    assert build_frames(videos, _items(), tmp_path / "video.lmdb", **SMALL).stored == 8


def test_second_build_of_one_store_at_the_same_time_is_refused(videos, tmp_path):
    out = tmp_path / "video.lmdb"
    parameters = MediaStore(build_frames(videos, _items(), tmp_path / "a.lmdb", **SMALL).store).meta
    running = PartialStore(out, parameters, copy_from=None, fresh=True)
    try:
        with pytest.raises(MicroLensError, match="another process is building"):
            build_frames(videos, _items(), out, **SMALL)
    finally:
        running.close()


def test_wrong_folders_and_options_leave_nothing_behind(videos, tmp_path):
    out, other = tmp_path / "data" / "video.lmdb", tmp_path / "other"
    other.mkdir()
    for folder, ids, options, reason in [
        (tmp_path / "none", _items(), {}, "cannot be listed"),
        (other, _items(), {}, "neither videos .* nor frames"),
        (videos, ["a", "b"], {}, "no file belongs to any of the 2 items.*e.g. a.mp4; found e.g. 1.mp4"),
        (videos, [], {}, "no items"),
        (videos, _items(), {"num_frames": 0}, "--num-frames 0"),
        (videos, _items(), {"quality": 101}, "--quality 101"),
        (videos, _items(), {"workers": 0}, "--workers 0"),
    ]:
        with pytest.raises(MicroLensError, match=reason):
            build_frames(folder, ids, out, **{**SMALL, **options})
        assert not out.parent.exists()


def test_nothing_is_stored_where_every_item_fails(tmp_path):
    for item in _items():
        (tmp_path / f"{item}.mp4").write_bytes(b"x")
    with pytest.raises(MicroLensError, match="any of the 8 items .* 1: not a video"):
        build_frames(tmp_path, _items(), tmp_path / "video.lmdb", **SMALL)
    assert not list(tmp_path.glob("*.lmdb*"))
    assert len(_report(tmp_path / "frames_report.csv")) == 8


def test_ready_frames_are_taken_in_the_order_of_their_numbers(tmp_path):
    for k in range(1, 13):
        Image.new("RGB", (40, 30), (20 * k,) * 3).save(tmp_path / f"a-b-{k}.jpg")
    Image.new("RGB", (40, 30)).save(tmp_path / "c-1.jpg")
    done = build_frames(tmp_path, ["a-b", "c"], tmp_path / "video.lmdb", **SMALL)
    assert done.stored == 2
    levels = MediaStore(tmp_path / "video.lmdb").read("a-b").mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [20 * k for k in [5, 6, 7, 8, 9]], atol=3)


def test_covers_of_any_suffix_go_into_a_store_of_single_images(tmp_path):
    covers = tmp_path / "covers"
    covers.mkdir()
    for item, suffix in enumerate(["jpg", "JPG", "png", "webp"], start=1):
        Image.new("RGB", (50, 70), (40 * item,) * 3).save(covers / f"{item}.{suffix}")
    (covers / "5.jpg").write_bytes(b"x")
    done = build_covers(covers, _items(5), tmp_path / "cover.lmdb", **SMALL)
    store = MediaStore(tmp_path / "cover.lmdb")
    assert (store.meta.modality, store.meta.num_frames, len(store)) == ("image", 1, 4)
    for item in range(1, 5):
        assert store.read(str(item)).shape == (1, 64, 64, 3)
        assert abs(store.read(str(item)).mean() - 40 * item) < 3
    assert done.report == tmp_path / "covers_report.csv"
    assert _report(done.report) == [{"item_id": "5", "reason": NO_IMAGE, "file": str(covers / "5.jpg")}]


def test_files_of_items_without_interactions_are_taken_along_if_wanted(videos, tmp_path):
    (videos / "later").mkdir()
    (videos / "7.mp4").rename(videos / "later" / "7.mp4")
    (videos / "later" / "9.mp4").write_bytes(b"")
    out = tmp_path / "video.lmdb"
    first = build_frames(videos, _items(5), out, **SMALL)
    assert (first.stored, first.without_interactions) == (5, 0)
    done = build_frames(videos, _items(5), out, **SMALL, new_items=True)
    assert (done.stored, done.built, done.without_interactions) == (8, 3, 3)
    assert done.failed == [] and done.failed_without_interactions == [("9", "empty file")]
    assert [row["item_id"] for row in _report(done.report)] == ["9"]
    assert sorted(MediaStore(out)) == _items() and verify(out, _items(5), progress=False) == []
    before = out.stat()
    again = build_frames(videos, _items(5), out, **SMALL, new_items=True)
    assert (again.stored, again.built, again.without_interactions) == (8, 0, 3)
    assert out.stat().st_mtime_ns == before.st_mtime_ns


def test_a_store_of_new_items_alone_is_refused(videos, tmp_path):
    (videos / "3.mp4").write_bytes(b"x")
    with pytest.raises(MicroLensError, match="any of the 1 items .* 3: not a video"):
        build_frames(videos, ["3"], tmp_path / "video.lmdb", **SMALL, new_items=True)


def test_ready_frames_beside_covers_are_no_covers_of_new_items(tmp_path):
    for name in ("1.jpg", "new-2.jpg", "frames/1-1.jpg", "frames/1-2.jpg"):
        path = tmp_path / "release" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(path)
    build_covers(tmp_path / "release", ["1"], tmp_path / "cover.lmdb", **SMALL, new_items=True)
    assert sorted(MediaStore(tmp_path / "cover.lmdb")) == ["1", "new-2"]


def test_an_item_with_files_in_two_folders_fails_and_names_both(videos, tmp_path, video_bytes):
    for folder in ("a", "b"):
        (videos / folder).mkdir()
        (videos / folder / "9.mp4").write_bytes(video_bytes)
    done = build_frames(videos, _items(9), tmp_path / "video.lmdb", **SMALL)
    assert done.stored == 8
    (row,) = _report(done.report)
    assert row["item_id"] == "9" and "several folders" in row["reason"]
    assert row["file"] == f"{videos / 'a' / '9.mp4'} and {videos / 'b' / '9.mp4'}"


def test_reasons_are_grouped_whatever_they_say_of_one_item():
    failed = [("a", "missing"), ("b", "1-7.jpg: empty file"), ("c", "damaged: frame 7 does not decode")]
    failed += [("d", "missing"), ("e", "2-1.png: empty file"), ("f", "damaged: frame 12 does not decode")]
    failed += [("g", "missing"), ("h", "missing")]
    assert by_reason(failed) == [
        "4 items: missing (a, d, g, ...)",
        "2 items: a frame: empty file (b, e)",
        "2 items: damaged: a frame does not decode (c, f)",
    ]
