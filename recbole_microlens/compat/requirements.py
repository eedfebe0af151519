"""What the package requires, and in which versions it is installed: for ``result.json`` and ``doctor``.

RecBole is installed by hand, without what its metadata asks for (ray), so its version stands in an extra.
"""

from __future__ import annotations

import configparser
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from logging import getLogger
from pathlib import Path

from recbole_microlens import __version__, compat
from recbole_microlens.errors import MicroLensError

PACKAGE = "recbole-microlens"
_SETUP = Path(__file__).parents[2] / "setup.cfg"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_ANOTHER_EXTRA = re.compile(r"""\bextra\s*==(?!\s*["']recbole["'])""")


def required() -> list[str]:
    """Names of all packages that a run needs: of the installed package, else of the checkout."""
    return sorted(requirements())


def requirements() -> dict[str, str]:
    """What a run needs, as pip takes it (``av<19,>=12``), by name."""
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        lines = _of_checkout()
    bare = [line.partition(";")[0].strip() for line in lines if not _OF_ANOTHER_EXTRA.search(line)]
    found = ((_NAME.match(line), line) for line in bare)
    return {name[0].lower(): line for name, line in found if name}


def how_to_install(packages: Iterable[str]) -> str:
    """What to type for packages that are missing."""
    wanted = requirements()
    others = [shlex.quote(wanted.get(name, name)) for name in packages if name != "recbole"]
    commands = [f"pip install {' '.join(others)}"] if others else []
    if "recbole" in packages:
        commands.append(f"pip install --no-deps {wanted.get('recbole', 'recbole')}")
    return " && ".join(commands)


def require_recbole() -> None:
    """Raise a ``MicroLensError`` that says what to type where RecBole is not installed."""
    if importlib.util.find_spec("recbole") is None:
        raise MicroLensError(f"RecBole is not installed. Type: {how_to_install(['recbole'])}")


def versions() -> dict[str, str | None]:
    """Versions of Python, this package, all that it requires and, where there is a GPU's, CUDA and cuDNN.

    ``None`` for a package that is not installed.
    """
    own = compat.installed_version(PACKAGE) or f"{__version__} (not installed, run from its folder)"
    found = {"python": sys.version.split()[0], PACKAGE: own}
    return found | {name: compat.installed_version(name) for name in required()} | _of_cuda()


def _of_checkout() -> list[str]:
    parser = configparser.ConfigParser()
    if not parser.read(_SETUP, encoding="utf-8"):
        getLogger().warning(
            f"{PACKAGE} is not installed and {_SETUP} is not there: the versions of what it requires are not "
            "recorded"
        )
        return []
    listed = parser["options"]["install_requires"] + parser["options.extras_require"]["recbole"]
    return [line for line in listed.splitlines() if line[:1] != "#"]


def _of_cuda() -> dict[str, str]:
    if compat.installed_version("torch") is None:
        return {}
    import torch

    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    found = {"cuda": torch.version.cuda, "cudnn": cudnn}
    return {name: str(version) for name, version in found.items() if version is not None}
