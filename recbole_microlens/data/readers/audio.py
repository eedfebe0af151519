"""Reader of sound: windows of an item's track from the media store, as an encoder of sound takes them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from recbole_microlens.data.readers.media_store import StoreReader
from recbole_microlens.errors import MicroLensError
from recbole_microlens.items.modality import modality_settings, store_path
from recbole_microlens.media.sound_values import stacked
from recbole_microlens.media.store import MediaStore
from recbole_microlens.media.store_meta import StoreMeta


class SoundReader(StoreReader):
    """Reads the sound of items by their internal ids; may be sent to worker processes.

    Parameters
    ----------
    store : MediaStore
        An open store of sound.
    tokens : np.ndarray
        Original item id of each internal id, [n_items]; index 0 is padding.
    samples : int
        Of each window its middle, so long.
    missing : str
        What an item without sound gives: ``zeros`` (silence) or ``error``.
    """

    def __init__(self, store: MediaStore, tokens: np.ndarray, samples: int, missing: str):
        super().__init__(store, tokens, missing)
        self.samples = samples

    def read(self, item_ids: Tensor) -> Tensor:
        """Sound of distinct items.

        Parameters
        ----------
        item_ids : Tensor
            [U] int64 internal ids, without padding.

        Returns
        -------
        Tensor [U, W, samples], int16
            The stored windows at the store's sample rate, with zeros behind those of a shorter track.
        """
        sound = np.zeros((len(item_ids), self.store.meta.windows, self.samples), dtype=np.int16)
        self.fill(sound, item_ids, self._windows)
        return torch.from_numpy(sound)

    def _windows(self, item_id: str) -> np.ndarray | None:
        windows = self.store.read_sound(item_id)
        return None if windows is None else stacked(windows, self.samples)


def sound_reader(config, tokens: np.ndarray) -> SoundReader:
    """The reader of ``audio.lmdb`` under the settings of a run.

    Raises
    ------
    MicroLensError
        There is no such store, its sample rate is not the encoder's, or its windows are too short.
    """
    store = MediaStore(store_path(config, "audio"))
    return SoundReader(store, tokens, samples_of(config, store.meta), config["missing_media"])


def samples_of(config, meta: StoreMeta) -> int:
    """How many samples of a stored window a run looks at.

    Parameters
    ----------
    meta : StoreMeta
        Of the store of sound, or as one would be built for its items.

    Raises
    ------
    MicroLensError
        The sample rate is not the encoder's, or the windows are shorter than ``audio_seconds``.
    """
    spec, seconds = modality_settings(config, "audio").encoder, config["audio_seconds"]
    if meta.sample_rate != spec.sample_rate:
        raise MicroLensError(
            f"audio_encoder: {spec.name} takes {spec.sample_rate} samples a second, audio.lmdb of "
            f"{config['dataset']} has {meta.sample_rate}. Build it again with: recbole-microlens audio "
            f"RELEASE_FOLDER --dataset {config['dataset']} --sample-rate {spec.sample_rate}"
        )
    if seconds is None:
        return meta.window_samples
    if seconds > meta.seconds:
        raise MicroLensError(
            f"audio_seconds: {seconds} are asked for, windows of audio.lmdb are of {meta.seconds:g} s. Set "
            f"it to at most that, or build the store again with --seconds {seconds}."
        )
    return round(seconds * meta.sample_rate)
