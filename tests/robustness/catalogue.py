"""Every kind of case, and how many of each there are among a number of cases."""

from __future__ import annotations

from . import (
    atomic,
    caches,
    checkpoints,
    features,
    item_files,
    media,
    options,
    pairs,
    property_yaml,
    results,
    settings,
    stores,
)
from .cases import Generator

_MODULES = (
    *(pairs, item_files, atomic, media, stores, caches),
    *(features, checkpoints, results, settings, property_yaml, options),
)
GENERATORS: dict[str, Generator] = {module.GENERATOR.name: module.GENERATOR for module in _MODULES}


def counts(chosen: dict[str, Generator], total: int) -> dict[str, int]:
    """How many cases of each kind, by their shares; at least one."""
    shares = sum(generator.share for generator in chosen.values())
    return {name: max(1, round(total * generator.share / shares)) for name, generator in chosen.items()}
