"""A cache that is killed while it is built goes on where it was, and two builders do not meet."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from miniature import N_ITEMS, Pixels, tiny_encoder
from torch import nn

from recbole_microlens.activation_cache import plan
from recbole_microlens.activation_cache.build import PartialCache, partial_path, sole_builder
from recbole_microlens.activation_cache.cache import ActivationCaches
from recbole_microlens.activation_cache.plan import Work
from recbole_microlens.activation_cache.settings import CacheSettings
from recbole_microlens.activation_cache.store import CachedRows, CacheMeta, RowFormat, open_cache, rows_path
from recbole_microlens.data.media import ItemReader
from recbole_microlens.encoders.trunk_output import TrunkOutput
from recbole_microlens.items.content import ContentItemEmbedding
from recbole_microlens.items.towers import EncoderTower

META = CacheMeta({"weights": "a"}, 7, (RowFormat((2, 3), "float32"), RowFormat((4,), "int64")))


def rows_of(items):
    ids = torch.tensor(list(items))
    return TrunkOutput((ids.float().view(-1, 1, 1).expand(-1, 2, 3), ids.view(-1, 1).expand(-1, 4)))


def build(folder, stop_after=None):
    """Build ranges of two items; returns those that were written."""
    written = []
    with sole_builder(folder):
        partial = PartialCache(folder, META, range_items=2)
        for items in partial.remaining():
            if len(written) == stop_after:
                partial.close()
                return written
            partial.write(items, rows_of(items))
            written.append(items)
        partial.finish()
    return written


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def caches_of(folder, reader):
    """Caches of a layer with a tiny video encoder; a range is two items."""
    torch.manual_seed(1)
    towers = nn.ModuleDict({"video": EncoderTower("video", tiny_encoder(), embedding_dim=5)})
    layer = ContentItemEmbedding(towers, N_ITEMS, 5)
    settings = CacheSettings(folder, True, "fp32", 0.5, range_items=2, workers=0, progress=False)
    tokens = np.array([str(item) for item in range(N_ITEMS)])
    return ActivationCaches(settings, layer, ItemReader(N_ITEMS, {"video": reader}), tokens, Work(9, 9, 9))


def test_rows_come_back_as_they_were_written_and_padding_is_zero(tmp_path):
    assert build(tmp_path / "cache") == [range(1, 3), range(3, 5), range(5, 7)]
    rows = open_cache(tmp_path / "cache", META.parts)
    for got, wanted in zip(
        rows.read(torch.tensor([6, 0, 2])).tensors, rows_of([6, 0, 2]).tensors, strict=True
    ):
        assert got.dtype == wanted.dtype and torch.equal(got, wanted)
    assert open_cache(tmp_path / "cache", {"weights": "b"}) is None
    assert not partial_path(tmp_path / "cache").exists()


def test_a_cache_may_be_larger_than_the_memory(tmp_path):
    values = 2**20
    n_items = 4 * psutil.virtual_memory().total // (4 * values)
    meta = CacheMeta({}, n_items, (RowFormat((values,), "float32"),))
    with rows_path(tmp_path, 0).open("wb") as file:
        file.truncate(meta.size)  # sparse: it takes no space
        file.seek(-4, os.SEEK_END)
        file.write(np.float32(2.5).tobytes())
    (rows,) = CachedRows(tmp_path, meta).read(torch.tensor([1, n_items - 1])).tensors
    assert rows.sum(1).tolist() == [0, 2.5]


def test_a_broken_off_build_goes_on_and_ends_in_the_same_bytes(tmp_path):
    assert len(build(tmp_path / "broken", stop_after=1)) == 1
    assert open_cache(tmp_path / "broken", META.parts) is None
    assert build(tmp_path / "broken") == [range(3, 5), range(5, 7)]
    build(tmp_path / "whole")
    assert content_of(tmp_path / "broken") == content_of(tmp_path / "whole")


def test_a_record_cut_in_its_last_line_drops_that_line_only(tmp_path):
    build(tmp_path / "cache", stop_after=2)
    record = partial_path(tmp_path / "cache") / "done.txt"
    record.write_bytes(record.read_bytes()[:-1])
    assert build(tmp_path / "cache") == [range(3, 5), range(5, 7)]


def test_a_partial_of_another_fingerprint_is_begun_anew(tmp_path):
    build(tmp_path / "cache", stop_after=2)
    (partial_path(tmp_path / "cache") / "meta.json").write_text("{}")
    assert len(build(tmp_path / "cache")) == 3


KILLED_BUILD = """
import sys
from pathlib import Path
from recbole_microlens.activation_cache.build import PartialCache
from test_build import Pixels, caches_of

write = PartialCache.write

def reporting_write(self, items, rows):
    write(self, items, rows)
    print(items.start, flush=True)
    if items.start == 5:
        sys.stdin.read()

PartialCache.write = reporting_write
caches_of(Path(sys.argv[1]), Pixels()).ensure(may_build=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_build_killed_in_the_middle_resumes_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_SPARE_BYTES", 0)
    here = Path(__file__).parents[1]
    paths = [here.parent, here, Path(__file__).parent]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-c", KILLED_BUILD, str(tmp_path / "killed")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        written = [int(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    assert written == [1, 3, 5]

    resumed, whole = Pixels(), Pixels()
    caches_of(tmp_path / "killed", resumed).ensure(may_build=True)
    caches_of(tmp_path / "whole", whole).ensure(may_build=True)
    assert [1, 2] in whole.reads[1:] and [1, 2] not in resumed.reads[1:]
    assert [7, 8] in resumed.reads
    (killed,), (unbroken,) = (list((tmp_path / name).iterdir()) for name in ("killed", "whole"))
    assert killed.name == unbroken.name and content_of(killed) == content_of(unbroken)


@pytest.mark.skipif(os.name == "nt", reason="no lock there")
def test_a_second_builder_waits_and_then_looks_again(tmp_path):
    answers = []

    def second():
        with sole_builder(tmp_path / "cache") as is_mine:
            answers.append(is_mine)

    with sole_builder(tmp_path / "cache") as is_mine:
        assert is_mine
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        partial = PartialCache(tmp_path / "cache", META, range_items=10)
        partial.write(range(1, 7), rows_of(range(1, 7)))
        partial.finish()
    waiting.join(5)
    assert answers == [False]
    assert open_cache(tmp_path / "cache", META.parts) is not None
