"""What the manifest of an export says of a tower."""

from __future__ import annotations

from typing import Any

from recbole_microlens.export.contract import TOLERANCE
from recbole_microlens.export.towers.onnx_export import BATCHES, Exported, Tower
from recbole_microlens.export.towers.onnx_file import described


def tower_written(file: str, tower: Tower, exported: Exported) -> dict[str, Any]:
    """What the manifest says of a tower."""
    about: dict[str, Any] = {"file": file, **described(exported.content), "exporter": exported.exporter}
    longest, lengths = tower.longest, []
    if longest is not None:
        about |= {"longest": longest, "takes_shorter": exported.takes_shorter}
        lengths = [longest // 2, longest] if exported.takes_shorter else [longest]
    about["equal_to_the_model"] = {
        "on": list(tower.tried_on),
        "batches": list(BATCHES),
        "lengths": lengths,
        "tolerance": f"{TOLERANCE:g} of the largest number of each vector",
    }
    return about


def tower_refused(reason: str) -> dict[str, Any]:
    """What the manifest says of a tower that there is none of."""
    return {"file": None, "reason": reason}
