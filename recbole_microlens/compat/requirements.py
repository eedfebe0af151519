"""What the package requires, and in which versions it is installed: for ``result.json`` and ``doctor``."""

from __future__ import annotations

import configparser
import re
import sys
from importlib.metadata import PackageNotFoundError, requires
from logging import getLogger
from pathlib import Path

from recbole_microlens import __version__, compat

PACKAGE = "recbole-microlens"
_SETUP = Path(__file__).parents[2] / "setup.cfg"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OF_AN_EXTRA = re.compile(r"\bextra\s*==")


def required() -> list[str]:
    """Names of all packages that a run needs, without extras: of the installed package, else of the checkout.

    A requirement of other versions of Python counts as well: RecBole has to be installed by hand there.
    """
    try:
        lines = requires(PACKAGE) or []
    except PackageNotFoundError:
        lines = _of_checkout()
    lines = [line.strip() for line in lines]
    return sorted(_NAME.match(line)[0].lower() for line in lines if line and not _OF_AN_EXTRA.search(line))


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
    return [line for line in parser["options"]["install_requires"].splitlines() if line[:1] != "#"]


def _of_cuda() -> dict[str, str]:
    if compat.installed_version("torch") is None:
        return {}
    import torch

    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    found = {"cuda": torch.version.cuda, "cudnn": cudnn}
    return {name: str(version) for name, version in found.items() if version is not None}
