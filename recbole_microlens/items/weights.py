"""Looks for the weights of a run's encoders before anything else is done."""

from __future__ import annotations

from recbole_microlens.items.modality import ENCODED, features_path, modalities, modality_settings


def require_weights(config) -> None:
    """Make sure that what the encoders of a run are loaded from is on this machine; download what is not.

    Raises
    ------
    MicroLensError
        Something cannot be had; or the settings of an encoder are wrong.
    """
    for name in modalities(config):
        if name in ENCODED and features_path(config, name) is None:
            settings = modality_settings(config, name)
            options = settings.options
            settings.encoder.require_weights(options.weights, options.frames, options.size)
