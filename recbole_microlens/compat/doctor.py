"""Versions, work-arounds, the device, and what is missing."""

import importlib
import platform

from recbole_microlens import compat
from recbole_microlens.compat import requirements
from recbole_microlens.errors import first_line

# What to import of a required package, where it is not its name.
MODULES = {
    "pillow": "PIL",
    "pytorchvideo": "pytorchvideo.models.hub",
    "pyyaml": "yaml",
    "recbole": "recbole.trainer",
    "scikit-learn": "sklearn",
    "tensorboard": "torch.utils.tensorboard",
    "torchvision": "torchvision.models.video",
}


def examine() -> tuple[str, bool]:
    """The report, and whether everything that a run needs is there."""
    missing = {}
    lines = [f"python {platform.python_version()} on {platform.platform()}"]
    for package in requirements.required():
        problem = _import_problem(MODULES.get(package, package.replace("-", "_")))
        lines.append(
            f"{package} {compat.installed_version(package) or '-'}{': ' + problem if problem else ''}"
        )
        if problem:
            missing[package] = problem
    lines += [f"worked around {library}: {what}" for library, what in compat.worked_around.items()]
    if "torch" not in missing:
        lines.append(_devices())
    lines.append(_verdict(missing))
    return "\n".join(lines), not missing


def _import_problem(module: str) -> str | None:
    try:
        importlib.import_module(module)
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        return f"cannot be imported: {first_line(error)}"
    return None


def _devices() -> str:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(compat.visible_gpus())]
    return (
        f"devices: {', '.join(names)}" if names else f"devices: CPU only, {torch.get_num_threads()} threads"
    )


def _verdict(missing: dict[str, str]) -> str:
    if not missing:
        return "Everything that a run needs is there."
    return f"Missing: {', '.join(missing)}. Type: {requirements.how_to_install(missing)}"
