"""What a GPU does: checks that it computes what the CPU computes, then measurements; see ``gpu.md``.

The parts run in order of worth, each recorded in ``--out`` when it ends, in a process that is started again
where a part breaks the GPU for it. Without a GPU, ``--short`` runs everything in small shapes, where the CPU
stands for both devices. Prints one JSON object as its last line; exit code 1 if a check or a part failed.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

HERE = Path(__file__).resolve().parent
_BROKEN = 75  # exit code of a process whose GPU answers no more
_MOST_STARTS = 6


def main() -> int:
    arguments = parse()
    if arguments.until is not None:
        return work(arguments)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.unlink(missing_ok=True)
    return supervise(arguments)


def supervise(arguments: argparse.Namespace) -> int:
    """Start the process that works, again where it died, and print what it found."""
    until = monotonic() + 60 * arguments.minutes
    command = [sys.executable, *sys.argv, "--until", str(until), "--out", str(arguments.out)]
    for _ in range(_MOST_STARTS):
        code = subprocess.run(command, env=os.environ | {"PYTHONWARNINGS": "ignore"}).returncode
        if code in (0, 2) or monotonic() > until:
            break
        _record_death(arguments.out, code)
    sys.path[:0] = [str(HERE.parent)]
    from gpu_checks.report import Report

    report = Report(arguments.out)
    print(report.as_line())
    return int(bool(report.failed()) or not report.parts)


def work(arguments: argparse.Namespace) -> int:
    """Run the parts that the file does not have yet."""
    sys.path[:0] = [str(HERE.parent)]
    import torch
    from gpu_checks.parts import BrokenDeviceError, run_parts
    from gpu_checks.place import Place
    from gpu_checks.report import Report

    if not arguments.short and not torch.cuda.is_available():
        print("gpu.py: torch sees no GPU here. Give --short to run on the CPU.", file=sys.stderr)
        return 2
    from recbole.utils import init_seed

    logging.disable(logging.WARNING)
    init_seed(0, True)  # cuDNN's deterministic algorithms, as in every run
    device = torch.device("cuda" if torch.cuda.is_available() and not arguments.cpu else "cpu")
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.device_count()  # remembered from here on, whatever the environment then says
    report = Report(arguments.out)
    report.about = about(device, arguments)
    with TemporaryDirectory() as scratch:
        place = Place(device, arguments.short, Path(scratch))
        try:
            run_parts(chosen(arguments), place, report, arguments.until)
        except BrokenDeviceError:
            return _BROKEN
    report.about["seconds"] = round(60 * arguments.minutes - (arguments.until - monotonic()), 1)
    report.write()
    return 0


def chosen(arguments: argparse.Namespace) -> dict:
    """The parts, or those that ``--only`` names."""
    parts = all_parts()
    names = arguments.only.split(",") if arguments.only else list(parts)
    unknown = [name for name in names if name not in parts]
    if unknown:
        sys.exit(f"gpu.py: --only: there is no {', '.join(unknown)}. Known: {', '.join(parts)}.")
    return {name: parts[name] for name in names}


def all_parts() -> dict:
    """Every part by name, in order of worth, with the seconds that a GPU takes, roughly."""
    from gpu_checks import caches, devices, epoch, group, precision, resume, steps
    from gpu_checks.parts import Part

    def measured(function, encoder):
        return partial(function, encoder)

    return {
        "devices": Part(devices.kinds, 60),
        "published": Part(steps.same_loss, 10),
        "half": Part(precision.half, 40),
        "overflow": Part(precision.overflow, 3),
        "caches": Part(caches.caches, 20),
        "pinned": Part(caches.pinned, 8, only_cuda=True),
        "steps slowfast_r50": Part(measured(steps.published_and_ours, "slowfast_r50"), 50),
        "resume": Part(resume.resume, 20),
        "chunks": Part(caches.chunks, 10),
        "tf32": Part(devices.tf32, 5, only_cuda=True),
        "nccl": Part(group.nccl, 30),
        "ceilings": Part(steps.ceilings, 6),
        "epoch": Part(epoch.epoch, 75),
        "steps mvit_base_16x4": Part(
            measured(steps.published_and_ours, "mvit_base_16x4"), 50, in_short=False
        ),
        "steps videomae_base": Part(measured(steps.published_and_ours, "videomae_base"), 50, in_short=False),
        "compile": Part(caches.compiled, 50),
        "full slowfast_r50": Part(measured(steps.full, "slowfast_r50"), 40),
        "full mvit_base_16x4": Part(measured(steps.full, "mvit_base_16x4"), 40, in_short=False),
        "full videomae_base": Part(measured(steps.full, "videomae_base"), 40, in_short=False),
    }


def about(device, arguments: argparse.Namespace) -> dict:
    """The machine, the versions and what was asked for."""
    import platform

    import torch
    from steps.measure import machine

    from recbole_microlens import compat
    from recbole_microlens.training.run_folder import git_commit

    packages = ("recbole", "torchvision", "transformers", "pytorchvideo", "numpy", "pandas")
    versions = {name: compat.installed_version(name) for name in packages}
    about = {"machine": machine(device), "versions": {"python": platform.python_version(), **versions}}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        about |= {"memory_gb": round(properties.total_memory / 1e9, 1)}
    return about | {"commit": git_commit(), "short": arguments.short, "minutes": arguments.minutes}


def _record_death(path: Path, code: int) -> None:
    """The part that was running when the process ended has failed."""
    sys.path[:0] = [str(HERE.parent)]
    from gpu_checks.report import Report

    report = Report(path)
    for part in report.parts.values():
        if part["state"] == "running":
            part |= {"state": "failed", "why": f"its process ended with {code}"}
    report.write()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="for everything; what does not fit is skipped"
    )
    parser.add_argument("--short", action="store_true", help="small shapes; also without a GPU")
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone (with --short)")
    parser.add_argument("--only", default="", help="parts to run, by name, with commas between")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu.json"), help="the file of what was found")
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
