"""The settings of trunk caches, read from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = "trunk_cache"
# YAML reads a bare off as false.
_OFF, _AUTO = ("off", False), ("auto", True)


@dataclass(frozen=True)
class CacheSettings:
    """The settings of the caches of a run.

    Attributes
    ----------
    folder : holds a folder for each cache; ``None`` for no caches.
    always : build a cache even where it costs more time than it saves.
    dtype : ``fp32``, ``bf16`` or ``fp16``.
    device_fraction : of the device's free memory that a cache may take.
    range_items, workers : items encoded at once, and processes that read them, while a cache is built.
    progress : show a bar.
    """

    folder: Path | None
    always: bool
    dtype: str
    device_fraction: float
    range_items: int
    workers: int
    progress: bool

    @classmethod
    def of(cls, config) -> CacheSettings:
        chosen = config["trunk_cache"]
        folder = Path(config["data_path"]) / FOLDER if chosen in _AUTO else Path(str(chosen))
        return cls(
            None if chosen in _OFF else folder,
            chosen not in _AUTO,
            config["trunk_cache_dtype"],
            config["trunk_cache_device_fraction"],
            config["encode_batch_size"],
            config["worker"],
            config["show_progress"],
        )
