"""Lets torchvision be imported beside a torch that its compiled part was not built for."""

import importlib.machinery
from functools import cache
from pathlib import Path

from recbole_microlens.compat import worked_around

_kept: list = []  # the schemas live as long as their library


@cache
def fix_torchvision() -> None:
    """Let ``import torchvision`` work when its compiled part does not match torch.

    The registry's torchvision is the CUDA build; beside a CPU-only torch its operators do not load, and its
    import then fails on two missing schemas. Video encoders use neither operator. Call before the first
    import.
    """
    import torch

    # Not by ``importlib.util``: the watch of ``torchvision_import`` would call this function again.
    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or spec.origin is None or _torchvision_operators_load(Path(spec.origin).parent):
        return
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
    worked_around["torchvision"] = "its compiled part does not load with this torch: declared nms and qnms"


def _torchvision_operators_load(folder: Path) -> bool:
    import torch

    for compiled in sorted(folder.glob("_C.*")):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            continue
        return True
    return False
