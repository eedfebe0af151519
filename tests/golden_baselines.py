"""Holds a baseline against a golden file: ``python tests/golden_baselines.py FILE.npz [FILE.npz ...]``.

The model is found by the file's name (``dssm_a.npz``, ``mmgcn_id_v_b.npz``). Prints the largest difference of
the loss, of the gradients and of the scores; exits 1 if one is above 1e-5.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

MOST = 1e-5
CASES = Path(__file__).with_name("golden_cases")
LOSSES = ("loss", "cross_entropy", "distillation")


def differences(path: Path) -> dict[str, float]:
    """The largest absolute difference of each kind of value between a golden file and our model."""
    with np.load(path, allow_pickle=False) as file:
        case = {name: file[name] for name in file.files}
    ours = import_module(f"golden_cases.{case_of(path)}").outcome(case)
    largest: dict[str, float] = {}
    for name, expected in case.items():
        kind = _kind(name)
        if kind is None:
            continue
        found = np.asarray(ours[name])
        if found.shape != expected.shape:
            raise ValueError(f"{name} has shape {found.shape}, not {expected.shape}")
        difference = np.abs(found.astype(np.float64) - expected).max(initial=0.0)
        largest[kind] = max(largest.get(kind, 0.0), float("inf") if np.isnan(difference) else difference)
    return largest


def case_of(path: Path) -> str:
    """The module of ``golden_cases`` that a file is for: the longest one that its name begins with."""
    known = sorted((found.stem for found in CASES.glob("[a-z]*.py")), key=len, reverse=True)
    for name in known:
        if path.stem == name or path.stem.startswith(f"{name}_"):
            return name
    raise ValueError(f"{path.name} is of none of {', '.join(sorted(known))}")


def _kind(name: str) -> str | None:
    if name in LOSSES:
        return "loss"
    if name.startswith("grad."):
        return "gradients"
    return "scores" if name.startswith("scores") else None


def main(paths: list[str]) -> int:
    if not paths:
        print(__doc__)
        return 2
    worst = 0.0
    for path in map(Path, paths):
        found = differences(path)
        worst = max(worst, *found.values())
        print(f"{path.name}: " + ", ".join(f"{kind} {value:.1e}" for kind, value in found.items()))
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
