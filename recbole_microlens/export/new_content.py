"""The content of a new item's file, as a store of the run would hold it and its reader give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_microlens.data.readers.audio import samples_of
from recbole_microlens.media.containers import NO_SOUND_TRACK
from recbole_microlens.media.sound import SILENT_REASON
from recbole_microlens.media.sound_values import decode_sound, stacked
from recbole_microlens.media.spread import frames_of_clip
from recbole_microlens.media.store import decode_value
from recbole_microlens.media.store_meta import StoreMeta

KIND_OF = {"video": "videos", "cover": "covers", "audio": "audio"}
"""By field of a new item that is a file, the kind of source that it is read as."""

_SOUNDLESS = (NO_SOUND_TRACK, SILENT_REASON)


def meta_of(modality: str, stored: Mapping[str, Any]) -> StoreMeta:
    """What a store of a modality says of itself, by what the run's catalogue says of it."""
    return StoreMeta(modality, **stored)


def row_of(config, modality: str, stored: Mapping[str, Any], value: bytes) -> np.ndarray:
    """The value of an item -> what the run's reader gives of it.

    Parameters
    ----------
    stored : mapping
        What the run's catalogue says of the modality's store.
    value : bytes
        As :func:`~recbole_microlens.media.part.encode_item` makes it.

    Returns
    -------
    np.ndarray
        Of a video uint8 [T, S, S, 3], of a picture [S, S, 3], of sound int16 [W, samples].
    """
    meta = meta_of(modality, stored)
    if modality == "audio":
        return stacked(decode_sound(value, meta), samples_of(config, meta))
    frames = 1 if modality == "image" else config["num_frames"]
    wanted = frames_of_clip(meta, frames)
    pixels = decode_value(value, config["frame_size"], wanted)
    return pixels[0] if modality == "image" else pixels


def soundless(config, stored: Mapping[str, Any], reason: str) -> np.ndarray | None:
    """Silence, int16 [W, samples], for an item whose file has no sound, where the run gives its own items
    that; ``None`` where another reason is against the file.
    """
    if not reason.endswith(_SOUNDLESS) or config["missing_media"] != "zeros":
        return None
    meta = meta_of("audio", stored)
    return np.zeros((meta.windows, samples_of(config, meta)), dtype=np.int16)


class WithoutWeights:
    """The settings of a run, but the encoders' weights, which the run has trained."""

    def __init__(self, config):
        self._config = config

    def __getitem__(self, key: str):
        return "none" if key == "encoder_weights" else self._config[key]

    def __getattr__(self, name: str):
        return getattr(self._config, name)
