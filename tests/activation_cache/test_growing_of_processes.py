"""A cache of some items that two processes build together, or that is killed while one builds it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cached_layer import Setting
from test_growing import DRAWS, ROW_BYTES, WORK, built, with_room_for
from two_processes import in_two

from recbole_microlens.activation_cache import plan
from recbole_microlens.quick_start import run

KILLED_BUILD = """
import sys
from pathlib import Path
import test_growing
from recbole_microlens.activation_cache import plan
from recbole_microlens.activation_cache.growing import GrowingCache

plan._SPARE_BYTES = 0
write = GrowingCache.write

def reporting_write(self, part, rows):
    write(self, part, rows)
    print(part.first, flush=True)
    if part.first == 4:
        sys.stdin.read()

GrowingCache.write = reporting_write
test_growing.with_room_for(Path(sys.argv[1]), 10)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_what_a_killed_build_has_written_is_used_and_added_to(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_SPARE_BYTES", 0)
    here = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (here.parent, here, here / "activation_cache"))),
    }
    command = [sys.executable, "-c", KILLED_BUILD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        written = [int(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    assert written == [0, 4]
    evaluated = Setting(tmp_path, work=WORK)
    evaluated.caches.ensure(may_build=False)
    assert evaluated.caches._in_use["video"].n_held == 8
    resumed = with_room_for(tmp_path, 10)
    assert built(resumed) == [2, 3]
    torch.testing.assert_close(resumed.gradients()[0], Setting(None).gradients()[0], atol=1e-6, rtol=0)
    assert DRAWS[0] == 0 and ROW_BYTES["video"] == 512


def _run(settings):
    torch.set_num_threads(1)
    return run("SASRecV", "tiny", config_dict=settings)


@pytest.mark.slow
def test_two_processes_build_and_use_what_one_does(content_settings, tiny_data, tmp_path):
    results, held = [], []
    threads = torch.get_num_threads()
    for name, start in (("one", _run), ("two", lambda settings: in_two(_run, settings)[0])):
        data = tmp_path / name
        shutil.copytree(tiny_data, data, ignore=shutil.ignore_patterns("activation_cache"))
        results.append(
            start(
                content_settings
                | {"data_path": str(data), "finetune": "top", "encode_batch_size": 3, "learner": "sgd"}
                | {"freeze_bn_statistics": True, "activation_cache_max_gb": 31e-6 / 2}
                | {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
            )
        )
        (folder,) = (data / "tiny" / "activation_cache").iterdir()
        lines = (folder / "held.txt").read_text().split("\n")
        held.append((sorted(filter(None, lines)), (folder / "0.rows").read_bytes()))
        assert json.loads((folder / "used.json").read_text())["model"] == "SASRecV"
    torch.set_num_threads(threads)
    assert held[0] == held[1] and len(held[0][0]) == 4
    assert results[0]["test_result"] == pytest.approx(results[1]["test_result"], abs=1e-4)
