"""All that knows a library's version or works around one.

Each work-around tests for the fault itself, not for a version, does nothing where the fault is absent, and is
kept in :data:`worked_around` for ``recbole-microlens doctor``. ``import recbole_microlens`` applies them: see
:mod:`~recbole_microlens.compat.on_import`.
"""

import importlib.util
import os
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

worked_around: dict[str, str] = {}


@cache
def recbole_folder() -> Path:
    """Folder of the installed RecBole, without importing it."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'recbole'")
    return Path(spec.origin).parent


@cache
def recbole_model_names() -> frozenset[str]:
    """Names of all models of the installed RecBole: its property files are named like their classes."""
    return frozenset(path.stem for path in (recbole_folder() / "properties" / "model").glob("*.yaml"))


@cache
def recbole_config_keys() -> frozenset[str]:
    """Every configuration key that the installed RecBole's property files hold or its code reads."""
    keys: set[str] = set()
    for path in (recbole_folder() / "properties").rglob("*.yaml"):
        if not path.stem.endswith("url"):  # These files hold addresses by the name of a dataset.
            keys.update(re.findall(r"^([\w-]+):", path.read_text(encoding="utf-8"), re.M))
    for path in recbole_folder().rglob("*.py"):
        keys.update(re.findall(r"config\[['\"]([\w-]+)['\"]\]", path.read_text(encoding="utf-8")))
    return frozenset(keys)


def installed_version(package: str) -> str | None:
    """Version of an installed package, or ``None``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def all_gpu_ids() -> str:
    """The numbers of all CUDA devices that this process may use, as RecBole's ``gpu_id`` takes them."""
    import torch

    return os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))


def first_gpu_id() -> str:
    """The number of the first CUDA device that this process may use; ``-1``, as usual, is none."""
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]


def visible_gpus() -> int:
    """Number of CUDA devices that torch sees under the present ``CUDA_VISIBLE_DEVICES``."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
