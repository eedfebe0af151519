"""The table of encoders, and how a row becomes a network with its weights."""

from pathlib import Path

from recbole_microlens.encoders.encoder import Encoder
from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.encoders.transformers_folder import folder_spec
from recbole_microlens.encoders.transformers_rows import TRANSFORMERS_ROWS
from recbole_microlens.encoders.video_rows import VIDEO_ROWS
from recbole_microlens.errors import MicroLensError, did_you_mean

ENCODERS: dict[str, EncoderSpec] = {row.name: row for row in VIDEO_ROWS + TRANSFORMERS_ROWS}


def encoder_spec(name: str) -> EncoderSpec:
    """Return the row of an encoder; for a hub id (with a slash) or a folder, one made for it.

    Raises
    ------
    MicroLensError
        If no encoder has this name; the message names the nearest one and lists all.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    if "/" in str(name) or Path(str(name)).is_dir():
        return folder_spec(str(name))
    raise MicroLensError(
        f"encoder: there is no encoder '{name}'.{did_you_mean(str(name), ENCODERS)} "
        f"Set `encoder` to one of: {', '.join(ENCODERS)}."
    )


def create_encoder(
    name: str, frames: int = 5, size: int = 224, weights: str = "none", trainable_stages: int | None = None
) -> Encoder:
    """Build an encoder and load its weights.

    Parameters
    ----------
    name : a key of :data:`ENCODERS`.
    frames, size : frames of a clip, and their height and width in pixels.
    weights : ``pretrained`` (downloaded once by ``torch.hub``; ``kinetics`` is another word for it), a path
        of a checkpoint, or ``none`` (random).
    trainable_stages : how many top stages train; all by default. See
        :mod:`recbole_microlens.encoders.finetune`.

    Raises
    ------
    MicroLensError
        Unknown name; a clip that is too small for the network; weights that cannot be had or do not fit.
    """
    spec = encoder_spec(name)
    network = spec.build(frames, size)
    spec.load(spec, network, weights)
    encoder = Encoder(spec, network, trainable_stages)
    if spec.check:
        spec.check(encoder)
    return encoder
