"""Epochs of one training by one and by several processes, each with one thread."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

from recbole_microlens.sample.dataset import SAMPLE, make_sample

ROOT = Path(__file__).parents[2]


def make_data(folder: Path) -> None:
    make_sample(folder, progress=False)


def epoch_seconds(processes: int, epochs: int, folder: Path) -> dict:
    """Median seconds of an epoch of SASRecV on the sample dataset in ``folder``, the first epoch left out.

    Without the activation cache and with the whole encoder training, so that there is work to share out.
    """
    runs = folder / f"processes-{processes}"
    settings = {
        "data_path": folder,
        "checkpoint_dir": runs,
        "nproc": processes,
        "epochs": epochs + 1,
        "eval_step": epochs + 1,
        "finetune": "full",
        "freeze_bn_statistics": True,
        "worker": 0,
        "show_progress": False,
        "state": "ERROR",
    }
    command = [sys.executable, "run_recbole_ml.py", "--model=SASRecV", f"--dataset={SAMPLE}"]
    command += [f"--{key}={value}" for key, value in settings.items()]
    threads = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=ROOT, env=os.environ | threads, check=True, stdout=subprocess.DEVNULL)
    (result,) = runs.rglob("result.json")
    found = json.loads(result.read_text())
    return {
        "processes": found["processes"],
        "epoch_seconds": round(median(found["epoch_times_s"][1:]), 3),
        "test_hit@10": found["test_result"]["hit@10"],
    }
