"""A cache that several processes build, each a part of it, is that of one run, whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from recbole_microlens import cli
from recbole_microlens.activation_cache.build import PartialCache, partial_path
from recbole_microlens.activation_cache.listing import list_caches, remove
from recbole_microlens.activation_cache.row_format import RowFormat
from recbole_microlens.activation_cache.shares import SharedCache, without_parts
from recbole_microlens.activation_cache.store import CacheMeta, open_cache
from recbole_microlens.caching import build_caches
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.errors import MicroLensError
from recbole_microlens.media.partial import BeingBuilt
from recbole_microlens.media.shards import Shard
from recbole_microlens.quick_start import run

META = CacheMeta({"made by": "a test"}, 24, (RowFormat((3,), "float32"),))


@pytest.fixture
def chosen(quick_settings, tmp_path):
    """Settings of a run whose cache of 20 items is built in seven ranges of three."""
    return quick_settings | {
        "finetune": "frozen",
        "encode_batch_size": 3,
        "epochs": 1,
        "activation_cache": str(tmp_path / "caches"),
    }


def build(chosen, text=None, **more):
    shard = None if text is None else Shard.parse(text)
    return build_caches("SASRecV", "tiny", config_dict=chosen | more, shard=shard)["video"]


@pytest.fixture
def of_a_run(chosen, tmp_path):
    """The cache that a run builds."""
    run("SASRecV", "tiny", config_dict=chosen | {"activation_cache": str(tmp_path / "of-a-run")})
    (folder,) = (tmp_path / "of-a-run").iterdir()
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "used.json"}


@pytest.fixture
def written(monkeypatch):
    """The ranges that are built from now on."""
    found, write = [], PartialCache.write

    def noted(self, items, rows):
        write(self, items, rows)
        found.append(items.start)

    monkeypatch.setattr(PartialCache, "write", noted)
    return found


def test_parts_make_the_cache_of_a_run_and_a_run_takes_it(chosen, of_a_run, written, tmp_path):
    assert build(chosen, "3/3") is None and build(chosen, "1/3") is None
    folder = build(chosen, "2/3")
    assert folder == tmp_path / "caches" / of_a_run.name
    assert files(folder) == files(of_a_run)
    assert sorted(written) == list(range(1, 21, 3))
    assert build(chosen, "2/3") == build(chosen) == folder
    run("SASRecV", "tiny", config_dict=chosen)
    assert len(written) == 7 and list(folder.parent.iterdir()) == [folder]


def test_lacking_parts_are_named_never_taken_for_whole_and_built_by_who_needs_them(
    chosen, of_a_run, written, monkeypatch, caplog
):
    noted = PartialCache.write

    def once(self, items, rows):
        noted(self, items, rows)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PartialCache, "write", once)
        build(chosen, "2/4")
    caplog.set_level("INFO")
    assert build(chosen, "3/4") is None
    assert "Of 4 parts these are not: 1 (missing), 2 (unfinished), 4 (missing)" in caplog.text
    (unfinished,) = list_caches(Path(chosen["activation_cache"]), Path(chosen["data_path"]) / "tiny")
    assert (unfinished.state, unfinished.items, unfinished.in_use) == ("unfinished", 9, False)
    assert files(build(chosen)) == files(of_a_run)
    assert sorted(written) == list(range(1, 21, 3))


def test_other_ranges_and_too_many_parts_are_refused(chosen):
    build(chosen, "1/2")
    with pytest.raises(MicroLensError, match="begun with `encode_batch_size` 3, now it is 4"):
        build(chosen, "2/2", encode_batch_size=4)
    with pytest.raises(MicroLensError, match="only 7 batches of 3. Choose at most 7 parts"):
        build(chosen, "1/8")


def test_no_room_for_all_items_is_an_error_of_a_part(chosen):
    with pytest.raises(MicroLensError, match="`activation_cache_max_gb` is 1e-07"):
        build(chosen, "1/2", activation_cache_max_gb=1e-7)


def test_nothing_to_cache_is_one_sentence(chosen):
    with pytest.raises(MicroLensError, match="nothing to cache"):
        build(chosen, finetune="full")
    with pytest.raises(MicroLensError, match="Pop has no encoder"):
        build_caches("Pop", "tiny", config_dict={"data_path": chosen["data_path"]})


def test_values_that_one_part_cannot_hold_make_all_parts_fp32(chosen, monkeypatch):
    build(chosen, "1/2")
    monkeypatch.setattr(RowFormat, "can_hold", lambda self, *_: self.dtype != "float16")
    assert build(chosen, "2/2") is None
    assert build(chosen, "1/2") is not None
    (folder,) = [path for path in Path(chosen["activation_cache"]).iterdir() if path.is_dir()]
    assert CacheMeta.read(folder).formats[0].dtype == "float32"


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_cache_shares import Shard, part

for items in part(Path(sys.argv[2]), Shard(1, 2)):
    print(items.start, flush=True)
    if items.start == 3:
        sys.stdin.read()
"""


def rows_of(items):
    return TrunkOutput((torch.arange(items.start, items.stop).float()[:, None] * torch.tensor([1.0, 2, 3]),))


def part(final, shard):
    """Build a part with rows that tell the item; yields each range once it is on the disk."""
    shared = SharedCache(final, META, 2)
    with shared.joined(shard) as cache:
        for items in shared.remaining(shard):
            cache.write(items, rows_of(items))
            yield items


def assert_whole(final):
    rows = open_cache(final, META.parts).read(torch.arange(1, 24)).tensors[0]
    torch.testing.assert_close(rows, rows_of(range(1, 24)).tensors[0], atol=0, rtol=0)
    assert sorted(path.name for path in final.iterdir()) == ["0.rows", "meta.json"]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_part_continues_and_is_of_one_process_at_a_time(tmp_path):
    final = tmp_path / "cache"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(final)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert [int(process.stdout.readline()) for _ in range(2)] == [1, 3]
        with pytest.raises(BeingBuilt, match="another process is building part 1/2"):
            list(part(final, Shard(1, 2)))
        list(part(final, Shard(2, 2)))
        shared = SharedCache(final, META, 2)
        assert shared.finish(2) == ["1 (unfinished)"]
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    with (partial_path(final) / "done-1-of-2.txt").open("a") as record:
        record.write("5 ")
    assert [items.start for items in part(final, Shard(1, 2))] == [5, 7, 9, 11]
    assert shared.finish(2) == []
    assert_whole(final)


def test_parts_that_begin_and_end_at_once_make_one_cache(tmp_path):
    final, together = tmp_path / "cache", threading.Barrier(6)
    failed = []

    def one(number):
        try:
            together.wait()
            list(part(final, Shard(number, 6)))
            SharedCache(final, META, 2).finish(6)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not failed
    assert_whole(final)
    assert list(tmp_path.iterdir()) == [final]


def test_a_run_waits_for_parts_that_are_being_built(tmp_path, caplog):
    caplog.set_level("INFO")
    final, held = tmp_path / f"video-x-{16 * '0'}", []
    building = part(final, Shard(1, 1))
    next(building)

    def hold():
        with without_parts(final) as is_mine:
            held.append(is_mine)

    run_of_another = threading.Thread(target=hold)
    run_of_another.start()
    run_of_another.join(timeout=0.3)
    (listed,) = list_caches(tmp_path, tmp_path)
    assert listed.in_use and not remove(listed)
    assert not held and "waiting for them" in caplog.text
    list(building)
    run_of_another.join(timeout=20)
    assert held == [True]
    assert SharedCache(final, META, 2).finish(1) == []
    with without_parts(final) as is_mine:
        assert not is_mine
    assert_whole(final)


def test_the_command_line_builds_parts(chosen, capsys):
    words = [f"--{key}={value}" for key, value in chosen.items()]
    command = ["cache", "build", "tiny", "--model", "SASRecV", *words]
    assert cli.main([*command, "--shard", "1/2"]) == 0
    assert "video: part 1/2 is finished, others are not" in capsys.readouterr().out
    assert cli.main([*command, "--shard", "2/2"]) == 0
    assert "video: " + chosen["activation_cache"] in capsys.readouterr().out
    assert cli.main([*command, "--shard", "3/2"]) == 2
    assert cli.main([*command, "seed"]) == 2
