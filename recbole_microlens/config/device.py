"""The device of a run, by torch's name for it."""

from __future__ import annotations

from recbole_microlens import compat
from recbole_microlens.config.kinds import shown
from recbole_microlens.errors import MicroLensError


def device_settings(device: str | None) -> dict:
    """The settings for a device named as torch names it; a GPU where there is one for ``None``.

    Raises
    ------
    MicroLensError
        It is no name of a device that a model runs on here.
    """
    if device is None:
        device = "cuda" if compat.visible_gpus() else "cpu"
    kind, _, number = str(device).partition(":")
    if kind == "cpu" and not number:
        return {"use_gpu": False}
    if kind == "cuda" and (not number or number.isdecimal()):
        return {"use_gpu": True, "gpu_id": number or compat.first_gpu_id()}
    raise MicroLensError(f"device: {shown(device)} is none of cpu, cuda, cuda:0, cuda:1, ...")
