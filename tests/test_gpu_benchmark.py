"""The GPU benchmark in small shapes, where the CPU stands for both devices."""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest
import torch
from gpu_checks.parts import Part, run_parts
from gpu_checks.place import Place
from gpu_checks.report import Report

ROOT = Path(__file__).parents[1]


def benchmark(out, *arguments, script=ROOT / "benchmarks" / "gpu.py"):
    command = [sys.executable, str(script), "--short", "--cpu", "--out", str(out), *arguments]
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_checks_hold_on_a_cpu_and_what_only_a_gpu_has_is_left_out(tmp_path):
    parts = "overflow,ceilings,pinned,half"
    done = benchmark(tmp_path / "gpu.json", "--only", parts)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    printed = json.loads(done.stdout.splitlines()[-1])
    assert found["ok"] and found["about"]["versions"] == printed["about"]["versions"]
    assert {name: part["state"] for name, part in found["parts"].items()} == {
        "overflow": "done",
        "ceilings": "done",
        "pinned": "skipped",
        "half": "done",
    }
    assert [check["name"] for check in found["checks"]] == [check[0] for check in printed["checks"]]
    figures = {check["name"]: check["figure"] for check in found["checks"]}
    assert figures["SASRecID: fp16 scale"] == pytest.approx(2**16, rel=1e-3)
    assert 0 < figures["SASRecID: bf16 loss of an epoch"] < 1e-3
    assert found["measures"]["ceilings"]["fp32_tflops"] > 0


def test_a_part_that_fails_is_recorded_and_one_without_time_is_left_out(tmp_path):
    def fail(place, report):
        report.check("before", 1, 1)
        raise ValueError("no such thing")

    place, report = Place(torch.device("cpu"), False, tmp_path), Report(tmp_path / "report.json")
    parts = {"fails": Part(fail, 1), "long": Part(fail, 100), "of a GPU": Part(fail, 1, only_cuda=True)}
    run_parts(parts, place, report, monotonic() + 20)
    found = Report(report.path)
    assert [part["state"] for part in found.parts.values()] == ["failed", "skipped", "skipped"]
    assert found.parts["fails"]["why"].endswith("ValueError: no such thing")
    assert "s were left" in found.parts["long"]["why"] and found.parts["of a GPU"]["why"] == "only on a GPU"
    assert [check["name"] for check in found.checks] == ["before"]


def test_a_report_is_continued_and_knows_what_failed(tmp_path):
    report = Report(tmp_path / "report.json")
    assert report.check("within", 0.5, 1.0) and report.check("between", 2, [1, 3])
    assert not report.check("beyond", 2.0, 1.0)
    assert not report.check("no number", float("nan"), 1.0)
    report.parts["part"] = {"state": "failed"}
    report.measure("step", s=0.123456)
    report.write()
    again = Report(tmp_path / "report.json")
    assert again.failed() == ["part", "beyond", "no number"]
    assert again.measures == {"step": {"s": pytest.approx(0.1235)}}
    line = json.loads(again.as_line())
    assert line["checks"][2] == ["beyond", 0, 2.0, 1.0] and not line["ok"]
    assert line["parts"] == {"part": "failed"}


@pytest.mark.slow
def test_where_a_part_ends_the_process_the_others_run_in_another(tmp_path):
    script = (ROOT / "benchmarks" / "gpu.py").read_text()
    deadly = "def deadly(place, report):\n    os._exit(9)\n\n\n"
    script = script.replace("def about(", deadly + "def about(", 1)
    script = script.replace('"ceilings": ', '"deadly": Part(deadly, 1),\n        "ceilings": ', 1)
    (tmp_path / "gpu.py").write_text(script)
    done = benchmark(tmp_path / "gpu.json", "--only", "deadly,ceilings", script=tmp_path / "gpu.py")
    assert done.returncode == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert parts["deadly"] == {"state": "failed", "why": "its process ended with 9"}
    assert parts["ceilings"]["state"] == "done"
