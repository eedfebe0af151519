"""The settings of the activation cache."""

from __future__ import annotations

from recbole_microlens.activation_cache.row_format import DTYPES
from recbole_microlens.config.kinds import Kind, number, or_null, path, shown, word


def _place() -> Kind:
    """``auto``, ``off`` (which YAML reads as false) or a folder."""
    folder = path("a folder")

    def fault(value):
        if isinstance(value, bool):
            return None
        if not isinstance(value, str) or not value:
            return f"{shown(value)} is neither auto, off nor a folder. Set one of these."
        return folder.fault(value)

    return Kind("auto, off, or a folder", fault)


# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "activation_cache": (
        _place(),
        "where the frozen part's output of each item is kept; auto: where it pays",
    ),
    "activation_cache_dtype": (
        word(*DTYPES),
        "fp32 is exact, and takes twice the disk; uint8 half, with 256 levels a channel",
    ),
    "activation_cache_max_gb": (
        or_null(number(above=0)),
        "GB of disk that a cache may take: of the items drawn most often; null: what is free",
    ),
    "activation_cache_device_fraction": (
        number(0, 1),
        "a cache that fits into this part of the device's free memory is kept there",
    ),
}
