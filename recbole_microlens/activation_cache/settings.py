"""The settings of activation caches, read from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = "activation_cache"
# YAML reads a bare off as false.
_OFF, _AUTO = ("off", False), ("auto", True)


@dataclass(frozen=True)
class CacheSettings:
    """The settings of the caches of a run.

    Attributes
    ----------
    folder : Path | None
        Holds a folder for each cache; ``None`` for no caches.
    always : bool
        Build a cache even where it costs more time than it saves.
    dtype : str
        ``fp32``, ``bf16`` or ``fp16``.
    device_fraction : float
        Of the device's free memory that a cache may take.
    range_items, workers : int
        Items encoded at once, and processes that read them, while a cache is built.
    progress : bool
        Show a bar.
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
        chosen = config["activation_cache"]
        folder = Path(config["data_path"]) / FOLDER if chosen in _AUTO else Path(str(chosen))
        return cls(
            None if chosen in _OFF else folder,
            chosen not in _AUTO,
            config["activation_cache_dtype"],
            config["activation_cache_device_fraction"],
            config["encode_batch_size"],
            config["worker"],
            config["show_progress"],
        )
