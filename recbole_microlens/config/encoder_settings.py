"""The settings of encoders: which one, its weights, and what is taken from it."""

from __future__ import annotations

from recbole_microlens.config.forms import by_modality
from recbole_microlens.config.kinds import Kind, or_null, path, text, word
from recbole_microlens.encoders.frame_by_frame import FRAME_POOLS
from recbole_microlens.encoders.registry import NORMALISATIONS, OUTPUTS
from recbole_microlens.encoders.timm_pooling import POOLINGS

_NAME = text("the name of an encoder")

# Key -> kind of its values, and meaning; the table is joined in :mod:`recbole_microlens.config.schema`.
KEYS: dict[str, tuple[Kind, str]] = {
    "encoder": (
        or_null(_NAME),
        "the encoder of a model with one modality: a name, folder, hub id, or timm:NAME",
    ),
    "video_encoder": (_NAME, "the encoder of videos, if `encoder` is not set"),
    "image_encoder": (_NAME, "the encoder of images, if `encoder` is not set"),
    "text_encoder": (_NAME, "the encoder of titles, if `encoder` is not set"),
    "audio_encoder": (_NAME, "the encoder of sound, if `encoder` is not set"),
    "encoder_weights": (
        or_null(by_modality(or_null(path("pretrained, a path, a hub id, or none")))),
        "downloaded once (pretrained), a checkpoint, or random (none)",
    ),
    "encoder_output": (
        by_modality(word(*OUTPUTS)),
        "pooled features, logits of the pretraining head, or what the released runs took",
    ),
    "encoder_pooling": (
        by_modality(or_null(word("cls", "mean", "last", *POOLINGS))),
        "class token, mean, a title's last token, or what the head of timm:NAME takes; null: its default",
    ),
    "frame_pooling": (
        by_modality(or_null(word(*FRAME_POOLS))),
        "where an image encoder looks at each frame: difference sees motion, attention is trained",
    ),
    "normalisation": (
        by_modality(word(*NORMALISATIONS)),
        "of pixels: that of the weights, or mean and standard deviation 0.5 as released",
    ),
}
