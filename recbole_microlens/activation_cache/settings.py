"""The settings of activation caches, read from the configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from recbole_microlens.items.modality import (
    ENCODED,
    features_path,
    modalities,
    modality_settings,
    of_modality,
)
from recbole_microlens.media.shards import Shard

FOLDER = "activation_cache"
# YAML reads a bare off as false.
_OFF, _AUTO = ("off", False), ("auto", True)
# Which settings, besides the encoder, a cache depends on.
_OF_CONTENT: dict[str, tuple[str, ...]] = {
    "text": (),
    "image": ("frame_size", "image_source"),
    "video": ("frame_size", "num_frames"),
    "audio": ("audio_seconds",),
}
_BY_MODALITY = ("encoder_weights", "finetune", "finetune_stages", "encoder_output", "normalisation")


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
        ``fp32``, ``bf16``, ``fp16`` or ``uint8``.
    device_fraction : float
        Of the device's free memory that a cache may take.
    range_items, workers : int
        Items encoded at once, and processes that read them, while a cache is built.
    progress : bool
        Show a bar.
    max_bytes : int | None
        Bytes that a cache may take on the disk; ``None``: what the disk has.
    used_by : dict[str, dict]
        By modality, the settings that a cache depends on, and the model, for whoever looks at the caches.
    shard : Shard | None
        Build only this part of each cache; ``None``: all.
    """

    folder: Path | None
    always: bool
    dtype: str
    device_fraction: float
    range_items: int
    workers: int
    progress: bool
    max_bytes: int | None = None
    used_by: dict[str, dict] = field(default_factory=dict)
    shard: Shard | None = None

    @classmethod
    def of(cls, config) -> CacheSettings:
        chosen = config["activation_cache"]
        most = config["activation_cache_max_gb"]
        folder = Path(config["data_path"]) / FOLDER if chosen in _AUTO else Path(str(chosen))
        return cls(
            None if chosen in _OFF else folder,
            chosen not in _AUTO,
            config["activation_cache_dtype"],
            config["activation_cache_device_fraction"],
            config["encode_batch_size"],
            config["worker"],
            config["show_progress"],
            None if most is None else int(most * 1e9),
            {} if chosen in _OFF else {n: _used_by(config, n) for n in modalities(config) if n in ENCODED},
        )


def _used_by(config, name: str) -> dict:
    """The model, and the settings of a modality, as words of the command line would give them."""
    if features_path(config, name) is not None:
        return {}
    found = modality_settings(config, name)
    settings = {f"{name}_encoder": found.encoder.name}
    settings |= {key: of_modality(config, key, name) for key in _BY_MODALITY}
    if settings["finetune"] == "side":
        settings["side_layers"] = of_modality(config, "side_layers", name)
    settings |= {key: config[key] for key in _OF_CONTENT[name]}
    settings["activation_cache_dtype"] = config["activation_cache_dtype"]
    return {"model": config["model"], "settings": settings}
