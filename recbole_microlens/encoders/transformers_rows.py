"""Encoders of the transformers library: none yet."""

from recbole_microlens.encoders.spec import EncoderSpec
from recbole_microlens.errors import MicroLensError

TRANSFORMERS_ROWS: tuple[EncoderSpec, ...] = ()


def folder_spec(name: str) -> EncoderSpec:
    """The row of a model that is given by its hub id or its folder."""
    raise MicroLensError(f"encoder: hub ids and folders such as '{name}' are not supported yet.")
