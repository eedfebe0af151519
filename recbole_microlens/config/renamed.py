"""Settings that have a new name: files of old runs work with the old one."""

from __future__ import annotations

from functools import cache
from logging import getLogger

from recbole_microlens.errors import MicroLensError

# Each old name is read as the new one.
RENAMED = {
    "trunk_cache": "activation_cache",
    "trunk_cache_dtype": "activation_cache_dtype",
    "trunk_cache_device_fraction": "activation_cache_device_fraction",
}


def under_new_names(settings: dict, source: str) -> dict:
    """Settings with the new name of each key that has been renamed; tells of it once for each source.

    Parameters
    ----------
    settings : dict
        By key, as they were read; left as they are.
    source : str
        The file, or "the command line".

    Raises
    ------
    MicroLensError
        The old name and the new one are both given.
    """
    for old in RENAMED.keys() & settings.keys():
        if RENAMED[old] in settings:
            raise MicroLensError(
                f"{old}: this is the old name of `{RENAMED[old]}`, and both are given in {source}. Keep the "
                "new one."
            )
        _tell_of_new_name(old, source)
    return {RENAMED.get(key, key): value for key, value in settings.items()}


@cache
def _tell_of_new_name(old: str, source: str) -> None:
    getLogger().warning(f"{old}: it is now called {RENAMED[old]} (in {source})")
