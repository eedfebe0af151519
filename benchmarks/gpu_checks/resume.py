"""Check of a run that was interrupted: continued, it ends like the unbroken one."""

from __future__ import annotations

from pathlib import Path

import torch
from gpu_checks.place import DATASET, Place, distance
from gpu_checks.report import Report

from recbole_microlens.quick_start import run
from recbole_microlens.training import checkpoint

_EPOCHS = 3


def resume(place: Place, report: Report) -> None:
    """With dropout, in fp16 on a GPU: random states and the loss scale are part of it.

    A GPU adds up in no fixed order, so that two unbroken runs need not be equal: the bound is ten times what
    lies between them.
    """
    settings = place.settings(finetune="top", precision="fp16" if place.is_cuda else "fp32", epochs=_EPOCHS)
    unbroken = [run("SASRecV", DATASET, config_dict=settings) for _ in range(2)]
    broken = run("SASRecV", DATASET, config_dict=settings | {"epochs": 1})
    Path(broken["folder"], "result.json").unlink()
    resumed = run(config_dict={"epochs": _EPOCHS}, resume=broken["folder"])
    first, again, continued = (_weights(result) for result in (*unbroken, resumed))
    noise = distance(again, first)
    report.check("resume: weights", distance(continued, first), max(10 * noise, 1e-6))
    differences = [
        abs(resumed["test_result"][key] - unbroken[0]["test_result"][key]) for key in _keys(resumed)
    ]
    among = [abs(unbroken[1]["test_result"][key] - unbroken[0]["test_result"][key]) for key in _keys(resumed)]
    report.check("resume: metrics", max(differences), max(among) + 1 / place.users)
    report.check("resume: epochs", len(resumed["epoch_times_s"]), [_EPOCHS, _EPOCHS])
    report.measure("resume", two_unbroken_runs=noise)


def _weights(result: dict) -> torch.Tensor:
    state = checkpoint.load(Path(result["folder"]) / "last.pth")["state_dict"]
    return torch.cat([value.double().flatten() for value in state.values() if value.is_floating_point()])


def _keys(result: dict) -> list[str]:
    return list(result["test_result"])
