"""Check of a group of one process: every collective runs, over nccl on a GPU, and changes nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

_PATIENCE = 150  # seconds
_MODEL = "SASRecV"
_SETTINGS = {"finetune": "top", "freeze_bn_statistics": True}


def nccl(place, report) -> None:
    """In a process of its own, which can be ended where the library waits for ever."""
    command = [sys.executable, str(Path(__file__)), place.device.type, str(place.data), str(int(place.short))]
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    path = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=_PATIENCE
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-400:])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    report.measure("group", backend=found["backend"])
    # The same sums in the same order; a GPU's atomic additions may come in another one.
    report.check(f"{found['backend']}: loss of an epoch", found["loss"], 1e-5)
    report.check(f"{found['backend']}: metrics", found["metrics"], 1 / place.users)
    report.check(f"{found['backend']}: collectives that failed", len(found["failed"]), 0)
    if found["failed"]:
        report.measure("group", failed=found["failed"])


def _in_group(device_name: str, data: str, short: str) -> dict:
    import torch
    import torch.distributed as dist
    from gpu_checks.place import Place, exact_products, relative

    from recbole_microlens import distributed

    with TemporaryDirectory() as scratch:
        place = Place(torch.device(device_name), bool(int(short)), Path(scratch))
        place.__dict__["data"] = Path(data)
        with exact_products(place):
            alone = place.build(_MODEL, **_SETTINGS)
            loss, metrics = alone.epoch(), alone.metrics()
            own = torch.device("cuda", 0) if place.is_cuda else None
            address = f"tcp://127.0.0.1:{_free_port()}"
            backend = "nccl" if place.is_cuda else "gloo"
            minutes = timedelta(minutes=2)
            dist.init_process_group(backend, address, minutes, 1, 0, device_id=own)
            built = place.build(_MODEL, **_SETTINGS)
            distributed.broadcast_module(built.model)
            found = {"backend": dist.get_backend(), "loss": relative(built.epoch(), loss)}
            differences = [abs(value - metrics[key]) for key, value in built.metrics().items()]
        found |= {"metrics": max(differences), "failed": _failed(place.device)}
        distributed.leave()
    return found


def _failed(device) -> list[str]:
    """Names of the functions of ``distributed`` that gave something else than for a process alone."""
    import torch

    from recbole_microlens import distributed

    rows = torch.arange(6.0, device=device).view(3, 2).requires_grad_()
    gathered = distributed.all_gather_with_gradient(rows)
    gathered.square().sum().backward()
    ids = torch.arange(4)
    half = rows.detach().to(torch.bfloat16)
    outcomes = {
        "gather_with_gradient": torch.equal(gathered, rows) and torch.equal(rows.grad, 2 * rows.detach()),
        "gather_with_gradient, bf16": torch.equal(distributed.all_gather_with_gradient(half), half),
        "rows_of_all": torch.equal(distributed.all_gather_rows(rows.detach()), rows.detach()),
        "rows_of_all, from the CPU": torch.equal(distributed.all_gather_rows(ids), ids),
        "sum_of_all": torch.equal(distributed.all_reduce_sum(rows.detach().clone()), rows.detach()),
        "total": distributed.total(3, device) == 3,
        "from_all": distributed.all_gather_object({"a": 1}) == [{"a": 1}],
        "from_first": distributed.broadcast_object([1, None]) == [1, None],
        "first_does": distributed.main_process_does(lambda: "done") == "done",
        "wait_for_all": distributed.barrier() is None,
    }
    return [name for name, ok in outcomes.items() if not ok]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    print(json.dumps(_in_group(*sys.argv[1:])))
