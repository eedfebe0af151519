"""A store that a Ray cluster of several nodes builds, one of which is killed, is that of one process."""

import os
import threading
import time

import pytest
from PIL import Image

from recbole_microlens.errors import MicroLensError
from recbole_microlens.media import ray_engine, store_meta
from recbole_microlens.media.build import build_covers, build_frames
from recbole_microlens.media.ray_engine import RayEngine
from recbole_microlens.media.shards import folder_of
from recbole_microlens.media.store import MediaStore

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

ITEMS = [str(k) for k in range(60)]
SMALL = {"size": 32, "progress": False}


@pytest.fixture(scope="module")
def cluster():
    """A head without cores for tasks, and two nodes of one core each; the caller is at the head."""
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 1 << 27})
    found.nodes = [found.add_node(num_cpus=1, object_store_memory=1 << 27) for _ in range(2)]
    found.wait_for_nodes()
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def videos(tmp_path_factory, video_bytes):
    folder = tmp_path_factory.mktemp("videos")
    for item in ITEMS[1:]:
        (folder / f"{item}.mp4").write_bytes(video_bytes)
    (folder / "5.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "video.lmdb"
    build_frames(videos, ITEMS, path, workers=1, **SMALL)
    return path


def records(path):
    with store_meta.records(MediaStore(path).environments()) as found:
        return {key: bytes(value) for key, value in found}


def test_a_node_killed_in_the_middle_costs_nothing_but_time(cluster, videos, whole, tmp_path, caplog):
    path = tmp_path / "video.lmdb"
    victim = cluster.nodes[1]

    def kill_when_some_are_done():
        while len(list(folder_of(path).glob("*.lmdb"))) < 2:
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)

    killer = threading.Thread(target=kill_when_some_are_done, daemon=True)
    killer.start()
    engine = RayEngine(cluster.address)
    report = build_frames(videos, ITEMS, path, engine=engine, parts=10, **SMALL)
    killer.join()
    assert victim not in cluster.worker_nodes
    assert (report.stored, report.built) == (58, 58)
    assert sorted(report.failed) == [("0", "missing"), ("5", "not a video")]
    assert MediaStore(path).meta == MediaStore(whole).meta and len(MediaStore(path).files) == 10
    assert records(path) == records(whole)
    assert not list(folder_of(path).glob("*.partial"))
    again = build_frames(videos, ITEMS, path, engine=engine, **SMALL)
    assert (again.stored, again.built) == (58, 0)


def test_a_worker_that_dies_each_time_is_given_up_and_the_build_continues_later(
    cluster, videos, whole, tmp_path, monkeypatch
):
    def dies(*_):
        os._exit(1)

    monkeypatch.setattr(ray_engine, "build_task", dies)
    path = tmp_path / "video.lmdb"
    with pytest.raises(MicroLensError, match=r"shard \d/2: the worker that built it was lost 5 times"):
        build_frames(videos, ITEMS, path, engine=RayEngine(cluster.address), parts=2, **SMALL)
    monkeypatch.undo()
    build_frames(videos, ITEMS, path, engine=RayEngine(cluster.address), **SMALL)
    assert MediaStore(path).meta == MediaStore(whole).meta


def test_an_error_of_a_task_is_the_error_of_the_build(cluster, tmp_path):
    covers, path = tmp_path / "covers", tmp_path / "cover.lmdb"
    covers.mkdir()
    Image.new("RGB", (8, 8)).save(covers / "1.jpg")
    folder_of(path).mkdir()
    (folder_of(path) / "1-of-1.lmdb.partial").mkdir()
    with pytest.raises((MicroLensError, OSError), match="1-of-1.lmdb.partial"):
        build_covers(covers, ["1"], path, engine=RayEngine(cluster.address), parts=1, **SMALL)


def test_no_cluster_is_one_sentence(videos, tmp_path):
    with pytest.raises(MicroLensError, match="there is no Ray cluster"):
        build_frames(videos, ITEMS, tmp_path / "video.lmdb", engine=RayEngine("127.0.0.1:1"), **SMALL)
